-- The most frequent settlements: nothing but acknowledgements of messages that were lent as one. It writes what settle.lua would, with
-- less to do around it, or answers 0 before it has written anything: then settle.lua is asked. KEYS: the group's. ARGV: consumer, how
-- long the group remembers, number of loans; the token and the messages of each, as numbers and ranges (3-7,9); their IDs, which
-- may be left out where the group remembers nothing.

local remember = redis.call('HGET', KEYS[1], 'remember')
local width, loans = tonumber(remember), tonumber(ARGV[3])
local from = 4 + 2 * loans
if not remember or width < tonumber(ARGV[2]) or width > 0 and not ARGV[from] then return 0 end

-- The records as they will be: of nothing that is on loan there is none.
local gone, left, count = {}, {}, 0
for a = 4, from - 1, 2 do
  local token = ARGV[a]
  local record = redis.call('HGET', KEYS[9], token)
  if not record then return 0 end
  local consumer, open, place, first, behind, bits = string.match(record, '^(%S+) (%d+) (%d+ (%d+)) (%d+ %d+) (.*)$')
  if consumer ~= ARGV[1] then return 0 end
  local bytes, first, taken = {string.byte(bits, 1, -1)}, tonumber(first), 0
  for one, to in string.gmatch(ARGV[a + 1], '(%d+)%-?(%d*)') do
    for n = tonumber(one), tonumber(to) or tonumber(one) do
      local i = n - first
      local at, bit = math.floor(i / 8) + 1, 2 ^ (i % 8)
      if not bytes[at] or math.floor(bytes[at] / bit) % 2 == 0 then return 0 end
      bytes[at], taken = bytes[at] - bit, taken + 1
    end
  end
  count, open = count + taken, open - taken
  if open == 0 then
    gone[#gone + 1] = token
  else
    left[#left + 1], left[#left + 2] = token, table.concat({consumer, open, place, behind, string.char(unpack(bytes))}, ' ')
  end
end

local key, over
if width > 0 then
  local seen = {}
  for i = from, #ARGV do
    if seen[ARGV[i]] then return 0 end
    seen[ARGV[i]] = true
  end
  for set = 6, 8 do
    if redis.call('EXISTS', KEYS[set]) == 1 then
      for _, is in ipairs(redis.call('SMISMEMBER', KEYS[set], unpack(ARGV, from))) do
        if is == 1 then return 0 end
      end
    end
  end
  local time = redis.call('TIME')
  local at = math.floor(math.floor((time[1] * 1000000 + time[2]) / 1000) / width)
  key, over = KEYS[6 + at % 3], string.format('%.0f', (at + 2) * width)
end
if #gone > 0 then
  redis.call('ZCARD', KEYS[3])
  redis.call('ZCARD', KEYS[10])
end

-- What was acknowledged makes room: the first write is one that a full memory does not stop.
redis.call('HDEL', KEYS[9], '', unpack(gone))
if #left > 0 then redis.call('HSET', KEYS[9], unpack(left)) end
if #gone > 0 then
  redis.call('ZREM', KEYS[10], unpack(gone))
  for i, token in ipairs(gone) do gone[i] = 'f' .. token end
  redis.call('ZREM', KEYS[3], unpack(gone))
end
if key then
  redis.call('SADD', key, unpack(ARGV, from))
  redis.call('PEXPIREAT', key, over)
end
if redis.call('HINCRBY', KEYS[1], 'c:' .. ARGV[1], -count) <= 0 then redis.call('HDEL', KEYS[1], 'c:' .. ARGV[1]) end
return 1
