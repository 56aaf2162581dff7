-- How a script of wrk says what came of it: one line that benchmarks/wrk.py reads.

function done(summary, latency, requests)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"refused":%d,"lost":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, summary.errors.status, lost,
    latency:percentile(50), latency:percentile(99)))
end
