-- What the scripts of the most frequent steps have in common: new messages to one topic that is there, and sets of known IDs. They
-- answer 0 before they have written anything when there is more to it; then the scripts for all steps are asked. Their first write is
-- one that a server without memory, or with another type under the key, refuses, unless it makes room.

local now

-- The server's clock is asked once, where it is needed.
local function clock()
  if not now then
    local time = redis.call('TIME')
    now = math.floor((time[1] * 1000000 + time[2]) / 1000)
  end
  return now
end

-- Whether one of the names is known in the three sets from first on.
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

-- Whether one of the names is there twice.
local function twice(names, from, to)
  local seen = {}
  for i = from, to do
    if seen[names[i]] then return true end
    seen[names[i]] = true
  end
  return false
end

local function remember(first, width, names, from, to)
  local at = math.floor(clock() / width)
  local key = KEYS[first + at % 3]
  redis.call('SADD', key, unpack(names, from, to))
  redis.call('PEXPIREAT', key, string.format('%.0f', (at + 2) * width))
end

-- Looks whether the messages in ARGV may go into the topic whose keys stand from `at` on, and answers what write needs; nothing
-- where the topic is new or full, a delayed message is due in it, or a message is known.
local function plain(at, from, to)
  local h = redis.call('HMGET', KEYS[at], 'era', 'ms', 'n', 'bytes', 'count', 'size', 'window', 'due', 'waiters', 'max')
  if not h[1] or h[8] and h[8] ~= '' and tonumber(h[8]) <= clock() then return nil end
  local count, size, window, longest = tonumber(h[5]), tonumber(h[6]), tonumber(h[7]), tonumber(h[10]) or 0
  local bytes, ids = tonumber(h[4]) or 0, {}
  for i = from, to do
    local blob = ARGV[i]
    local _, a, b, c, d = string.byte(blob, 1, 5)
    local head = 5 + a * 256 + b
    bytes = bytes + #blob - head - c * 256 - d
    if #blob > longest then longest = #blob end
    if window > 0 then ids[#ids + 1] = string.sub(blob, 6, head) end
  end
  if size >= 0 and bytes > size + math.floor(size / 10)
      or count >= 0 and redis.call('XLEN', KEYS[at + 1]) + to - from + 1 > count + math.floor(count / 10)
      or window > 0 and (twice(ids, 1, #ids) or known(at + 3, ids, 1, #ids)) then
    return nil
  end
  return {at = at, from = from, to = to, h = h, bytes = bytes, longest = longest, window = window, ids = ids}
end

local function write(p)
  local at, h = p.at, p.h
  local ms, n = math.max(tonumber(h[2]) or 0, clock()), (tonumber(h[3]) or 0) - p.from + 1
  local front = string.format('%.0f-', ms)
  for i = p.from, p.to do redis.call('XADD', KEYS[at + 1], front .. string.format('%.0f', n + i), 'm', ARGV[i]) end
  redis.call('HSET', KEYS[at], 'ms', string.format('%.0f', ms), 'n', string.format('%.0f', n + p.to), 'bytes', string.format('%.0f', p.bytes), 'max', string.format('%.0f', p.longest))
  if p.window > 0 then remember(at + 3, p.window, p.ids, 1, #p.ids) end
  if h[9] and h[9] ~= '' then
    for channel in string.gmatch(h[9], '%S+') do redis.pcall('PUBLISH', channel, KEYS[at]) end
    redis.call('HDEL', KEYS[at], 'waiters')
  end
end
