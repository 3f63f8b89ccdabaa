"""The counting as Lua, run by Redis in one piece; `limits` sends it.

The same rules as `gateway.ledger`, with Redis's clock. Each bucket is a hash (due, reserved, period, spent, alerts) and
a sorted set of what is held: `id:amount` by the time when a hold that nobody settled is given back.

KEYS: hash and set of each bucket. ARGV: id, tokens, nano-dollars, seconds a hold lives, then for each bucket: measure,
capacity, seconds a unit.
"""

_PRELUDE = """
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local id, tokens, money, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function whole(n) return string.format('%.0f', n) end
local function exact(n) return string.format('%.17g', n) end
local function month_of(days)
  -- Howard Hinnant's civil_from_days, for the months alone.
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe/1460) + math.floor(doe/36524) - math.floor(doe/146096)) / 365)
  local doy = doe - (365*yoe + math.floor(yoe/4) - math.floor(yoe/100))
  local mp = math.floor((5*doy + 2) / 153)
  local m = mp < 10 and mp + 3 or mp - 9
  local y = yoe + era * 400
  if m <= 2 then y = y + 1 end
  return y, m, doy - math.floor((153*mp + 2) / 5) + 1
end
local today = math.floor(now / 86400)
local buckets = {}
for i = 1, #KEYS / 2 do
  local at = 5 + (i - 1) * 3
  local b = {key = KEYS[2*i-1], holds = KEYS[2*i], measure = ARGV[at], capacity = tonumber(ARGV[at+1]),
             step = tonumber(ARGV[at+2])}
  local v = redis.call('HMGET', b.key, 'due', 'reserved', 'period', 'spent', 'alerts')
  b.due, b.reserved = tonumber(v[1] or 0), tonumber(v[2] or 0)
  b.period, b.spent, b.alerts = tonumber(v[3] or 0), tonumber(v[4] or 0), tonumber(v[5] or 0)
  b.level = math.max(0, b.due - now)
  b.keep = math.ceil(b.level + b.capacity * b.step + ttl) + 60
  if b.measure == 'tokens' then b.amount = math.min(tokens, b.capacity)
  elseif b.measure == 'concurrent requests' then b.amount = 1
  elseif b.measure ~= 'requests' then
    b.money = true
    b.amount = money
    local y, m, d = month_of(today)
    local period = today
    b.left = (today + 1) * 86400 - now
    b.keep = 3 * 86400 + ttl
    if b.measure == 'monthly_usd' then
      period = y * 12 + m
      local days = 32 - ({month_of(today - d + 32)})[3]
      b.left = (today - d + 1 + days) * 86400 - now
      b.keep = 63 * 86400 + ttl
    end
    if b.period < period then
      b.period, b.spent, b.alerts, b.turned = period, 0, 0, true
    end
  end
  if b.amount then
    for _, held in ipairs(redis.call('ZRANGEBYSCORE', b.holds, '-inf', now)) do
      b.reserved = b.reserved - tonumber(string.match(held, ':(%d+)$'))
      b.turned = true
    end
    if b.turned then redis.call('ZREMRANGEBYSCORE', b.holds, '-inf', now) end
  end
  buckets[i] = b
end
local function save(b)
  redis.call('HSET', b.key, 'due', exact(b.due), 'reserved', whole(b.reserved))
  if b.money then
    redis.call('HSET', b.key, 'period', whole(b.period), 'spent', whole(b.spent), 'alerts', whole(b.alerts))
  end
  redis.call('EXPIRE', b.key, whole(b.keep))
end
"""

RESERVE = (
    _PRELUDE
    + """
local refused, wait, alert = 0, 0, 0
for i, b in ipairs(buckets) do
  if b.measure == 'requests' then wait = b.due - now - (b.capacity - 1) * b.step
  elseif b.measure == 'tokens' then wait = b.level + (b.reserved + b.amount - b.capacity) * b.step
  elseif b.money then wait = b.spent + b.reserved + b.amount > b.capacity and b.left or 0
  else wait = b.reserved >= b.capacity and 1 or 0 end
  if wait > 2e-6 then
    refused = i
    if b.money and b.alerts % 4 < 2 then
      b.alerts, b.turned, alert = b.alerts + 2, true, b.spent
      if alert == 0 then alert = -1 end
    end
    break
  end
end
for i, b in ipairs(buckets) do
  if refused == 0 then
    if b.measure == 'requests' then b.due = math.max(b.due, now) + b.step
    else
      b.reserved = b.reserved + b.amount
      redis.call('ZADD', b.holds, exact(now + ttl), id .. ':' .. whole(b.amount))
      redis.call('EXPIRE', b.holds, whole(math.ceil(ttl) + 60))
    end
  end
  if refused == 0 or b.turned then save(b) end
end
local used = {}
for i, b in ipairs(buckets) do used[i] = b.money and whole(b.spent + b.reserved) or '0' end
return {refused, exact(wait), exact(now), whole(alert), used}
"""
)
"""Returns the number of the bucket that refuses or 0, the wait, the time, a budget's alert: 0, or what is spent (-1
for nothing), and what is used of each bucket that counts money."""

OUTSIDE = "~"
"""Begins the id of what was spent while Redis was gone, without a reservation here."""

SETTLE = (
    _PRELUDE
    + """
-- ARGV after the buckets: tokens used, nano-dollars used, time of the reservation or '' to keep the request, '1' when
-- this may be a repetition.
local at = 5 + #buckets * 3
local used, spent, since, again = tonumber(ARGV[at]), tonumber(ARGV[at+1]), tonumber(ARGV[at+2]), ARGV[at+3] == '1'
local outside = string.sub(id, 1, 1) == '~'
if outside then again = true end
local alerts = {}
for i, b in ipairs(buckets) do
  local here = true
  if outside then
    -- Sent again and again until it is answered: the first time leaves a mark among the holds.
    if b.amount then
      here = redis.call('ZADD', b.holds, 'NX', exact(now + ttl), id .. ':0') == 1
      redis.call('EXPIRE', b.holds, whole(math.ceil(ttl) + 60))
    end
  elseif b.amount then
    here = redis.call('ZREM', b.holds, id .. ':' .. whole(b.amount)) == 1
    if here then b.reserved = b.reserved - b.amount end
  end
  if b.measure == 'requests' then
    if since then b.due = b.due - math.max(0, b.step - (now - since)) end
  elseif here or not again then
    if b.measure == 'tokens' then b.due = math.max(b.due, now) + used * b.step
    elseif b.money then
      b.spent = b.spent + spent
      for bit, mark in ipairs({80, 100, 120}) do
        local flag = 2 ^ (bit - 1)
        if b.spent * 100 >= b.capacity * mark and math.floor(b.alerts / flag) % 2 == 0 then
          b.alerts = b.alerts + flag
          alerts[#alerts + 1] = {i, mark, whole(b.spent)}
        end
      end
    end
  end
  save(b)
end
return alerts
"""
)
"""Returns [bucket, percent, spent] of each alert."""

LOOK = (
    _PRELUDE
    + """
local found = {}
for i, b in ipairs(buckets) do
  local left, reset = b.capacity - b.reserved, 0
  if b.money then left, reset = left - b.spent, b.left
  elseif b.step > 0 then left, reset = left - b.level / b.step + 1e-6, b.level end
  if b.turned then save(b) end
  found[i] = {whole(math.max(0, math.floor(left))), exact(reset), b.money and whole(b.spent + b.reserved) or '0'}
end
return found
"""
)
"""Returns [remaining, reset, used] of each bucket; used of those that count money alone."""

RESET = (
    _PRELUDE
    + """
for i, b in ipairs(buckets) do
  b.due, b.spent, b.alerts = 0, 0, 0
  save(b)
end
return #buckets
"""
)
"""Sets what is used to nothing; what is held stays. Returns how many buckets there were."""
