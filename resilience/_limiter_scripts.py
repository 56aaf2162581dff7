"""What the limiter runs inside Redis: two scripts, one call each, on the server's clock.

Both take the same arguments and return the same numbers; see `arguments` and `read`. Nothing here
imports a client of Redis.
"""

import hashlib
from typing import NamedTuple

from resilience._limiter_store import Ask, Grant, LimiterWindow

# Note [Leases are never counted too short]
#
# A lease is a block of the quota that one process may use up by itself until the lease ends. It
# is recorded as if all of it were used at the last possible moment, its end, and counts until a
# window after that. So no window holds more than the limit, whenever the units are used:
#
# Take any window (a, a + W], and of all grants with a use inside it the last one, made at g. A
# use inside comes from a grant that was made by g, and that ends after a. As g <= a + W, the
# grant's end is later than g - W, so it was counted at g; and what was counted at g, with the
# grant itself, was at most the limit.
#
# The end is meant on two clocks. The process measures from before it asked, so its end is never
# later than the server's. When a process gives back the rest of a block it no longer uses it, so
# what it did use was used by now, and is recorded anew with that earlier moment.
#
# Near the limit the blocks shrink: one is never more than an eighth of what is left. The last
# units are given one by one, and little lies idle in one process while another is refused.

# A sorted set for each key. A member is an admitted request, or a lease with its size as
# `...*size`, and its score the last moment at which it can be used, in microseconds.
#
# - Members are made unique here rather than by the caller, whose counters may be copied by a
#   fork: two requests in one microsecond must be two members.
# - A member begins with the moment at which it was recorded. The clock may step back (an
#   operator, a fail-over to a replica). Within a window, the key's own newest moment is taken as
#   the time; beyond it, the entries are from a clock that is gone.
# - The member `+` holds, as a negative score, how many units there are beyond one a member, so
#   that nobody has to add them up. It is there only while there are leases.
# - Numbers are written with %.0f, because Lua shows large ones with 14 digits only.
_SLIDING = """
local key, limit, window_us = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, lease_us, ticket = tonumber(ARGV[3] or 1), tonumber(ARGV[4] or 0), ARGV[5]
local function whole(number) return string.format('%.0f', number) end
local function size(member) return tonumber(string.match(member, '%*(%d+)$') or 1) end

local time = redis.call('TIME')
local clock_us = time[1] * 1000000 + time[2]
local now_us, live_us = clock_us, 0
-- Without leases and steps of the clock, nothing lies ahead; to count that is cheaper than to read.
if redis.call('ZCOUNT', key, '(' .. whole(clock_us), '+inf') > 0 then
  local newest = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  local recorded_us = tonumber(string.match(newest[1], '^%d+'))
  if recorded_us - clock_us > window_us then
    redis.call('DEL', key)
  else
    now_us = math.max(clock_us, recorded_us)
    live_us = math.max(0, newest[2] - now_us)
  end
end

local oldest, extra = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES'), 0
if oldest[1] == '+' then
  extra = -oldest[2]
  oldest = redis.call('ZRANGE', key, 1, 1, 'WITHSCORES')
end
local members, extra_before = redis.call('ZCARD', key), extra
if extra > 0 then members = members - 1 end
if oldest[1] and tonumber(oldest[2]) <= now_us - window_us then
  local left_us = whole(now_us - window_us)
  if extra > 0 then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '(0', left_us)) do
      extra = extra - size(member) + 1
    end
  end
  members = members - redis.call('ZREMRANGEBYSCORE', key, '(0', left_us)
  oldest = {}
end
local used, latest_us = members + extra, now_us + live_us

local function record(units, score_us)
  local moment, copy, name = whole(now_us), members, ''
  repeat
    name = moment .. '-' .. copy
    if units > 1 then name = name .. '*' .. units end
    copy = copy + 1
  until redis.call('ZADD', key, 'NX', whole(score_us), name) == 1
  used, extra, latest_us = used + units, extra + units - 1, math.max(latest_us, score_us)
  -- A request of this moment leaves before what was leased a moment ago.
  if oldest[2] and score_us < tonumber(oldest[2]) then oldest = {} end
  return name
end

if ticket then
  local ends_us = redis.call('ZSCORE', key, ticket)
  if ends_us then
    local units = size(ticket)
    local spent = math.max(0, units - ARGV[6])
    redis.call('ZREM', key, ticket)
    used, extra, oldest = used - units, extra - units + 1, {}
    if spent > 0 then record(spent, math.min(ends_us, now_us)) end
  end
end

local granted = math.max(0, math.min(wanted, limit - used))
if granted > 1 then granted = math.min(granted, math.max(1, math.floor((limit - used) / 8))) end
if granted < 2 then lease_us = 0 end
if granted > 0 then
  ticket = record(granted, now_us + lease_us)
  redis.call('PEXPIRE', key, math.ceil((latest_us + window_us - clock_us) / 1000) + 1000)
end
if extra ~= extra_before then
  redis.call('ZREM', key, '+')
  if extra > 0 then redis.call('ZADD', key, whole(-extra), '+') end
end

-- The oldest entry; with a lowered limit, the last of as many as must leave.
local over, frees_us = math.max(0, used - limit), now_us
if over > 0 or not oldest[1] then
  local first = extra > 0 and 1 or 0
  oldest = redis.call('ZRANGE', key, first, first + over, 'WITHSCORES')
end
for at = 1, #oldest, 2 do
  frees_us = oldest[at + 1] + window_us
  over = over - size(oldest[at])
  if over < 0 then break end
end
return string.format('%d %d %.0f %.0f %.0f %.0f %s',
  granted, used, frees_us - now_us, clock_us, live_us, lease_us, ticket or '')
"""

# A hash for each key: `ends`, the end of its window in microseconds, `used`, the units taken in
# it, and `leased`, the end of its last lease. A window begins with the first request after the
# one before it ended; no lease outlives it. When the clock was set back by less than a window, the
# window lasts that much longer; one that ends later still is from a clock that is gone.
_FIXED = """
local key, limit, window_us = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local wanted, lease_us, ticket = tonumber(ARGV[3] or 1), tonumber(ARGV[4] or 0), ARGV[5]
local function whole(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', key, 'ends', 'used', 'leased')
local ends_us, used = tonumber(state[1] or 0), tonumber(state[2] or 0)
local leased_us = tonumber(state[3] or 0)
if ends_us <= now_us or ends_us - now_us > 2 * window_us then
  ends_us, used, leased_us = now_us + window_us, 0, 0
end
local used_before = used
if ticket == whole(ends_us) then used = math.max(0, used - ARGV[6]) end

local granted = math.max(0, math.min(wanted, limit - used))
if granted > 1 then granted = math.min(granted, math.max(1, math.floor((limit - used) / 8))) end
used = used + granted
local live_us = math.max(0, leased_us - now_us)
lease_us = granted > 1 and math.min(lease_us, ends_us - now_us) or 0
if granted > 1 then leased_us = math.max(leased_us, now_us + lease_us) end
if granted > 0 or used ~= used_before then
  redis.call('HSET', key, 'ends', whole(ends_us), 'used', used, 'leased', whole(leased_us))
  redis.call('PEXPIRE', key, math.ceil((ends_us - now_us) / 1000) + 1000)
end
return string.format('%d %d %.0f %.0f %.0f %.0f %.0f',
  granted, used, ends_us - now_us, now_us, live_us, lease_us, ends_us)
"""


class Script(NamedTuple):
    """A script, and the hash by which Redis knows it.

    Args:
        name: stands in the names of its keys; empty for the default.
    """

    text: str
    sha: str
    name: str


def _script(text: str, name: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), name)


SCRIPTS: dict[LimiterWindow, Script] = {
    "sliding": _script(_SLIDING, ""),
    "fixed": _script(_FIXED, "fixed:"),
}


def arguments(script: Script, prefix: str, ask: Ask) -> tuple[str | bytes | int, ...]:
    """Return the key, limit and window of a call; units and lease; ticket and unused units.

    No more of them than are needed, as each costs its time on the way.
    """
    window_us = round(ask.window_s * 1_000_000)
    name = f"{prefix}:{script.name}{window_us}:{ask.key}"
    if ask.units == 1 and ask.rest is None and not ask.lease_s:
        return name, ask.limit, window_us
    lease = (name, ask.limit, window_us, ask.units, int(ask.lease_s * 1_000_000))
    return lease if ask.rest is None else (*lease, ask.rest.ticket, ask.rest.units)


def read(ask: Ask, answer: str | bytes) -> Grant:
    """Return what a script's answer means.

    It is: units granted, units used, microseconds until the next place frees, the present in Unix
    microseconds, microseconds until the last lease of anybody ends, those of this one, and its
    ticket.
    """
    numbers = answer.split()
    units, used, frees_in_us, now_us, live_us, lease_us = map(int, numbers[:6])
    frees_in_s = frees_in_us / 1_000_000
    return Grant(
        units,
        max(0, ask.limit - used),
        frees_in_s,
        now_us / 1_000_000 + frees_in_s,
        min(frees_in_s, live_us / 1_000_000 + ask.lease_s) if live_us else frees_in_s,
        lease_us / 1_000_000,
        numbers[6] if lease_us else None,
    )
