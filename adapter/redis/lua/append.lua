-- The most frequent steps: nothing but new messages to one topic that is there. It writes what write.lua would, with less to do around
-- it, or answers 0 before it has written anything: then write.lua is asked. KEYS: as for write.lua with one topic, 6-11.
-- ARGV: number of IDs of steps, the IDs, the messages.
--
-- The first write is the one that a server without memory, or with another type under the log's key, refuses.

local h = redis.call('HMGET', KEYS[6], 'era', 'ms', 'n', 'bytes', 'count', 'size', 'window', 'due', 'waiters', 'max')
if not h[1] then return 0 end
local time = redis.call('TIME')
local now = math.floor((time[1] * 1000000 + time[2]) / 1000)
if h[8] and h[8] ~= '' and tonumber(h[8]) <= now then return 0 end

-- Whether one of the names, which are in ARGV or of messages, is known in the three sets from first on.
local function known(first, names, from, to)
  for set = first, first + 2 do
    if from == to then
      if redis.call('SISMEMBER', KEYS[set], names[from]) == 1 then return true end
    else
      for _, is in ipairs(redis.call('SMISMEMBER', KEYS[set], unpack(names, from, to))) do
        if is == 1 then return true end
      end
    end
  end
  return false
end

local function remember(first, width, names, from, to)
  local at = math.floor(now / width)
  local key = KEYS[first + at % 3]
  redis.call('SADD', key, unpack(names, from, to))
  redis.call('PEXPIREAT', key, string.format('%.0f', (at + 2) * width))
end

local steps = tonumber(ARGV[1])
if steps > 1 then
  local mine = {}
  for i = 2, 1 + steps do
    if mine[ARGV[i]] then return 0 end
    mine[ARGV[i]] = true
  end
end
if steps > 0 and known(3, ARGV, 2, 1 + steps) then return 0 end

local n, count, size, window, longest = #ARGV - 1 - steps, tonumber(h[5]), tonumber(h[6]), tonumber(h[7]), tonumber(h[10]) or 0
local bytes, ids, mine = tonumber(h[4]) or 0, {}, {}
for i = 1, n do
  local blob = ARGV[1 + steps + i]
  local _, a, b, c, d = string.byte(blob, 1, 5)
  local head = 5 + a * 256 + b
  bytes = bytes + #blob - head - c * 256 - d
  if #blob > longest then longest = #blob end
  if window > 0 then
    local id = string.sub(blob, 6, head)
    if mine[id] then return 0 end
    ids[i], mine[id] = id, true
  end
end
if size >= 0 and bytes > size + math.floor(size / 10)
    or count >= 0 and redis.call('XLEN', KEYS[7]) + n > count + math.floor(count / 10) then
  return 0
end
if window > 0 and known(9, ids, 1, n) then return 0 end

local ms, last = math.max(tonumber(h[2]) or 0, now), tonumber(h[3]) or 0
local front = string.format('%.0f-', ms)
for i = 1, n do redis.call('XADD', KEYS[7], front .. string.format('%.0f', last + i), 'm', ARGV[1 + steps + i]) end
redis.call('HSET', KEYS[6], 'ms', string.format('%.0f', ms), 'n', string.format('%.0f', last + n), 'bytes', string.format('%.0f', bytes), 'max', string.format('%.0f', longest))
if window > 0 then remember(9, window, ids, 1, n) end
if steps > 0 then remember(3, STEP_WINDOW, ARGV, 2, 1 + steps) end
if h[9] and h[9] ~= '' then
  for channel in string.gmatch(h[9], '%S+') do redis.pcall('PUBLISH', channel, KEYS[6]) end
  redis.call('HDEL', KEYS[6], 'waiters')
end
return 1
