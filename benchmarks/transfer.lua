-- Makes wrk move money: every request is a transfer between two accounts picked at random, with a
-- new Idempotency-Key. Arguments behind `--`: the API key, and the file with a line an account.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(arguments)
  math.randomseed(os.time() * 100 + number)
  run = string.format("%x-%x-%x", os.time(), number, math.random(0, 0xfffffff))
  sent = 0
  accounts = {}
  for line in io.lines(arguments[2]) do
    accounts[#accounts + 1] = line
  end
  headers = {
    ["Content-Type"] = "application/json",
    ["Authorization"] = "Bearer " .. arguments[1],
  }
end

function request()
  sent = sent + 1
  local source = math.random(#accounts)
  local destination = math.random(#accounts - 1)
  if destination >= source then
    destination = destination + 1
  end
  headers["Idempotency-Key"] = run .. "-" .. sent
  return wrk.format("POST", "/api/transactions", headers, string.format(
    '{"type":"transfer","source":"%s","destination":"%s","amount":1,"currency":"EUR"}',
    accounts[source], accounts[destination]))
end
