-- A group. Its keys stand in a row from `at` on: hash, states, loans by deadline, waiting messages by due time, bodies of
-- addressed messages, three sets of remembered IDs. A message is named by its n, an addressed one by p and a number.
--
-- A state is <token> <consumer> <ms>, and unless all that is as at first, <attempt> <lost> <crashes> <begun> <first> <reason>.
-- The token is new for each fetch: it stands for the loan. One that waits has "-" for token and consumer.

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
-- mark that is kept moves on by 10,000 in a call, so it may be lower than it could be, never higher.
local function floor(at)
  local h = redis.call('HMGET', KEYS[at], 'n', 'floor')
  local low = tonumber(h[1]) + 1
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
