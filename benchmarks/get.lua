-- Makes wrk read one address, as one client or as many. Arguments behind `--`: the path, and how
-- many clients; each of them has an address of its own in X-Forwarded-For.

dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "report.lua")

function init(arguments)
  local clients = tonumber(arguments[2])
  requests, sent = {}, 0
  for number = 1, clients do
    local address = string.format("10.1.%d.%d", math.floor(number / 250), number % 250 + 1)
    requests[number] = wrk.format("GET", arguments[1], {
      ["Accept-Encoding"] = "gzip, br",
      ["X-Forwarded-For"] = clients > 1 and address or nil,
    })
  end
end

function request()
  sent = sent % #requests + 1
  return requests[sent]
end
