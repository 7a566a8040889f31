-- What the scripts of the most frequent steps have in common: new messages to one topic that is there. They answer 0 before they have
-- written anything when there is more to it; then the scripts for all steps are asked. Their first write is one that a server without
-- memory, or with another type under the key, refuses, unless it makes room.
--
-- A topic's field plain is what its other fields were when messages were last written here: ms, n, bytes, max, window, due, and the
-- width of the window in which their IDs were remembered, with n behind it where there was no set of the width before: nothing is added to that
-- while the width lasts. One field is read and parsed in less than half the time of many. All else that changes one of them or the sets of known IDs
-- makes it empty. Where somebody waits it is empty, or w stands at its end. It is not written where the topic has a limit, nor where
-- the set behind that of the current width exists. All numbers have few enough digits for Lua's own formatting.
--
-- So the set of its width is the newest as long as it is there. While that set has more than one width to live, its width is the current one:
-- then its end is set, the third set's has passed, and the time is what is missing to its end.
local first, ids, last, ms, n, bytes, tail, longest, window, due, width, none, current, base, count, size, waiters

local function recorded(record)
  ms, n, bytes, tail, longest, window, due, width, none, waiters =
    string.match(record, '^(%d+) (%d+) (%-?%d+)( (%d+) (%-?%d+) (%d+) (%d+)(n?))(w?)$')
  if waiters == 'w' then waiters = redis.call('HGET', KEYS[first], 'waiters') end
  ms, n, longest, window, width = tonumber(ms), tonumber(n), tonumber(longest), tonumber(window), tonumber(width)
  if window > 0 then
    local left = redis.call('PTTL', KEYS[first + 3 + width % 3])
    current = left > window and left <= 2 * window
    if current then now = (width + 2) * window - left end
  end
end

local function read()
  local h = redis.call('HMGET', KEYS[first], 'era', 'ms', 'n', 'bytes', 'max', 'window', 'due', 'count', 'size', 'waiters', 'base')
  if not h[1] then return false end
  ms, n, bytes, longest, window = tonumber(h[2]) or 0, tonumber(h[3]) or 0, h[4] or 0, tonumber(h[5]) or 0, tonumber(h[6])
  due, count, size, waiters = h[7] and h[7] ~= '' and h[7] or '0', tonumber(h[8]), tonumber(h[9]), h[10]
  base = tonumber(h[11]) or 0
  if count < 0 and size < 0 then count = nil end
  return true
end

-- Reports whether messages may go into the topic whose keys stand from one on: not where it is new or full, a delayed message is due in it,
-- or a message is known. What ARGV tells from head on: how many they are, the bytes of their bodies, those of the longest message, how many
-- IDs follow, the IDs of all messages, which may be left out where the topic remembers none, and the entries that the messages are in.
local function plain(at, head)
  first, ids = at, head + 4
  last = head + 3 + ARGV[head + 3]
  local record = redis.call('HGET', KEYS[first], 'plain')
  if record and record ~= '' then
    recorded(record)
  elseif not read() then
    return false
  end
  if due ~= '0' and tonumber(due) <= clock() then return false end
  bytes = bytes + ARGV[head + 1]
  if ARGV[head + 2] + 0 > longest then longest, tail = ARGV[head + 2] + 0, nil end
  if count and (size >= 0 and bytes > size + math.floor(size / 10) or count >= 0 and n - base + ARGV[head] > count + math.floor(count / 10)) then
    return false
  end
  if window <= 0 then return true end
  if ARGV[head + 3] ~= ARGV[head] then return false end
  if not current then return not known(first + 3, ARGV, ids, last) end
  return not inside(KEYS[first + 3 + width % 3], ARGV, ids, last) and (none == 'n' or not older(KEYS[first + 3 + (width + 2) % 3], ARGV, ids, last))
end

-- Writes what plain was asked about.
local function write()
  if clock() > ms then ms = now end
  local stamp = ms .. ''
  local log, front, final = KEYS[first + 1], stamp .. '-', nil
  for i = last + 1, #ARGV do
    local form, hi, lo = string.byte(ARGV[i], 1, 3)
    n = n + (form == 2 and hi * 256 + lo or 1)
    final = n .. ''
    redis.call('XADD', log, front .. final, 'm', ARGV[i])
  end
  local record, sum = '', bytes .. ''
  if window <= 0 then
    width, none = 0, ''
  elseif not current then
    width, tail = math.floor(now / window), nil
    none = redis.call('EXISTS', KEYS[first + 3 + (width + 2) % 3]) == 0 and 'n' or ''
    if redis.call('EXISTS', KEYS[first + 3 + (width + 1) % 3]) == 1 then width = nil end
  end
  if width and not count then
    if not tail then
      tail = ' ' .. longest .. ' ' .. window .. ' ' .. due .. ' ' .. width .. none
      redis.call('HSET', KEYS[first], 'max', longest .. '')
    end
    record = stamp .. ' ' .. final .. ' ' .. sum .. tail
  else
    redis.call('HSET', KEYS[first], 'max', longest .. '')
  end
  redis.call('HSET', KEYS[first], 'ms', stamp, 'n', final, 'bytes', sum, 'plain', record)
  if current then
    redis.call('SADD', KEYS[first + 3 + width % 3], unpack(ARGV, ids, last))
  elseif window > 0 then
    remember(first + 3, window, ARGV, ids, last)
  end
  if waiters and waiters ~= '' then
    for channel in string.gmatch(waiters, '%S+') do redis.pcall('PUBLISH', channel, KEYS[first]) end
    redis.call('HDEL', KEYS[first], 'waiters')
  end
end
