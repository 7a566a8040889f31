-- A group. Its keys stand in a row from `at` on: hash, states, loans by deadline, waiting messages by due time, bodies of
-- addressed messages, three sets of remembered IDs, and what was lent as one. A message is named by its n, an addressed one by p and a
-- number.
--
-- What a fetch hands out for the first time is lent as one: a record by the fetch's token, which stands for the loan, is
-- <consumer> <open> <first ms> <first n> <last ms> <last n> <bits>: of the messages from the first to the last those are on loan whose
-- bit is set, the lowest bit of the first byte being the first message's. Its name among the loans is f and the token.
--
-- Everything else that is out or waits has a state of its own, <token> <consumer> <ms>, and unless all that is as at first,
-- <attempt> <lost> <crashes> <begun> <first> <reason>. One that waits has "-" for token and consumer. A message leaves its record for a
-- state when it is returned or released, when its loan is extended and that of the others is not, when it is begun, and when it is
-- handed out again.

local function state(s)
  local token, consumer, ms, rest = string.match(s, '^(%S+) (%S+) (%d+)(.*)$')
  local attempt, lost, crashes, begun, first, reason = string.match(rest, '^ (%d+) (%d+) (%d+) (%d) (%d+) (.*)$')
  return {
    token = token, consumer = consumer, ms = ms, attempt = attempt or '0', lost = lost or '0', crashes = crashes or '0',
    begun = begun or '0', first = first or ms, reason = reason or '',
  }
end

local function written(s)
  return table.concat({s.token, s.consumer, s.ms, s.attempt, s.lost, s.crashes, s.begun, s.first, s.reason}, ' ')
end

local records = {}

-- What was lent as one under a token, or false.
local function record(at, token)
  local name = at .. ' ' .. token
  local r = records[name]
  if r ~= nil then return r end
  r = redis.call('HGET', KEYS[at + 8], token)
  if r then
    local consumer, open, ms, n, lastms, last, bits = string.match(r, '^(%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (.*)$')
    r = {
      at = at, token = token, consumer = consumer, open = tonumber(open), ms = ms, n = tonumber(n), lastms = lastms, last = tonumber(last),
      bits = {string.byte(bits, 1, -1)},
    }
  end
  records[name] = r
  return r
end

-- Whether the message n is on loan in a record. n may be a name, too, and then also that of an addressed message.
local function lies(r, n)
  local i = (tonumber(n) or -1) - r.n
  if i < 0 or i > r.last - r.n then return false end
  return math.floor(r.bits[math.floor(i / 8) + 1] / 2 ^ (i % 8)) % 2 == 1
end

-- Takes a message that is on loan in a record out of it.
local function take(r, n)
  local i = n - r.n
  local byte = math.floor(i / 8) + 1
  r.bits[byte] = r.bits[byte] - 2 ^ (i % 8)
  r.open, r.dirty = r.open - 1, true
end

-- The lowest n that is on loan in a record.
local function lowest(r)
  for n = r.n, r.last do
    if lies(r, n) then return n end
  end
end

local function put(r)
  r.dirty = false
  if r.open == 0 then
    redis.call('HDEL', KEYS[r.at + 8], r.token)
    redis.call('ZREM', KEYS[r.at + 2], 'f' .. r.token)
    return
  end
  local head = table.concat({r.consumer, text(r.open), r.ms, text(r.n), r.lastms, text(r.last), ''}, ' ')
  redis.call('HSET', KEYS[r.at + 8], r.token, head .. string.char(unpack(r.bits)))
end

-- The record that holds the oldest messages of those that were lent as one, or nil: tokens grow as the place of the group does.
local function oldestRecord(at)
  local oldest
  for _, token in ipairs(redis.call('HKEYS', KEYS[at + 8])) do
    if not oldest or tonumber(token) < tonumber(oldest) then oldest = token end
  end
  return oldest and record(at, oldest) or nil
end

local function lent(at, consumer, by)
  if redis.call('HINCRBY', KEYS[at], 'c:' .. consumer, by) <= 0 then redis.call('HDEL', KEYS[at], 'c:' .. consumer) end
end

-- The longest time that any member asked for is how long a group remembers.
local function memory(at, stored, asked)
  if asked <= stored then return stored end
  rewidth(at + 5, stored, asked)
  redis.call('HSET', KEYS[at], 'remember', text(asked))
  return asked
end

-- The lowest n that the group may still need: of the messages that are open, or the next it will fetch. With many open, a
-- mark that is kept moves on by 10,000 in a call, so it may be lower than it could be, never higher. It does not pass what was lent as
-- one: that may become states.
local function floor(at)
  local h = redis.call('HMGET', KEYS[at], 'n', 'floor')
  local low = tonumber(h[1]) + 1
  local r = oldestRecord(at)
  if r then low = math.min(low, lowest(r)) end
  local open = redis.call('HLEN', KEYS[at + 1])
  if open == 0 then return low end
  if open <= 1000 then
    for _, field in ipairs(redis.call('HKEYS', KEYS[at + 1])) do
      local n = tonumber(field)
      if n and n < low then low = n end
    end
    return low
  end
  local mark = tonumber(h[2])
  for _ = 1, 20 do
    local fields = {}
    for n = mark, math.min(mark + 499, low - 1) do fields[#fields + 1] = text(n) end
    if #fields == 0 then break end
    local found
    for i, s in ipairs(redis.call('HMGET', KEYS[at + 1], unpack(fields))) do
      if s then found = i break end
    end
    mark = mark + (found and found - 1 or #fields)
    if found then break end
  end
  allow(KEYS[at])
  redis.call('HSET', KEYS[at], 'floor', text(mark))
  return mark
end
