-- A topic as this call sees it. KEYS[1] is the family's set of topics. A topic's own keys stand in a row from `at` on: hash, log,
-- delayed messages, three sets of known IDs. An entry's stream id is <ms>-<n>: n counts the entries ever written, so a log that
-- lost its end, and went on, shows. An entry is one message, or a pack of several that were written at once: its n is that of the last.

local topics = {}

local function parts(id)
  local dash = string.find(id, '-', 1, true)
  return string.sub(id, 1, dash - 1), string.sub(id, dash + 1)
end

-- A message is <version><2 bytes: ID's length><2 bytes: key's length><ID><key><body>.
local function idOf(blob)
  local _, hi, lo = string.byte(blob, 1, 3)
  return string.sub(blob, 6, 5 + hi * 256 + lo)
end

local function sizeOf(blob)
  local _, a, b, c, d = string.byte(blob, 1, 5)
  return #blob - 5 - a * 256 - b - c * 256 - d
end

-- How many entries to read at once, of at most so many: what they hold together is copied twice, and stays below 32 MiB even when all
-- of them are as large as the largest message that the topic has seen, or a pack.
local function portion(t, most) return math.max(1, math.min(most, math.floor(33554432 / math.max(t.max, PACK_BYTES)))) end

-- The messages of an entry whose n is above one, as {id, message, ms =, n =}. A pack is <2><2 bytes: how many>, then <2 bytes: length><message>
-- for each. Of a pack that is there, some may be gone: those up to the mark to which the topic was trimmed, and those that were taken out,
-- which have a field x:<n> in the topic's hash. None of them is above the topic's field gaps.
local function messages(t, e, above)
  local out, ms, last = {}, parts(e[1])
  local blob = e[2][2]
  local form, hi, lo = string.byte(blob, 1, 3)
  if form ~= 2 then return {{e[1], blob, ms = ms, n = tonumber(last)}} end
  local at, n, front = 4, last - hi * 256 - lo, ms .. '-'
  above = math.max(above, t.trim)
  while at < #blob do
    hi, lo = string.byte(blob, at, at + 1)
    local till = at + 1 + hi * 256 + lo
    n = n + 1
    if n > above and not (n <= t.gaps and redis.call('HEXISTS', KEYS[t.at], 'x:' .. n) == 1) then
      out[#out + 1] = {front .. n, string.sub(blob, at + 2, till), ms = ms, n = n}
    end
    at = till + 1
  end
  return out
end

-- The messages behind an id, at most so many and about so many bytes of them.
local function entries(t, id, most, bytes)
  local out, first, want = {}, '(' .. id, math.ceil(most / PACK) + 1
  local average = math.max(t.bytes, 0) / math.max(t.len, 1) + 64
  local _, above = parts(id)
  repeat
    want = portion(t, math.min(want, most - #out, math.floor(bytes / average) + 1))
    local some = redis.call('XRANGE', t.log, first, '+', 'COUNT', want)
    for _, e in ipairs(some) do
      for _, m in ipairs(messages(t, e, tonumber(above))) do
        if #out >= most or bytes <= 0 then return out end
        out[#out + 1] = m
        bytes = bytes - #m[2]
      end
      first = '(' .. e[1]
    end
    local ended = #some < want
    want = 2 * want
  until ended or #out >= most or bytes <= 0
  return out
end

-- A message by its id, and the entry that it is in; nil when it is not there.
local function find(t, id)
  local ms, n = parts(id)
  local e = redis.call('XRANGE', t.log, id, ms, 'COUNT', 1)[1]
  local m = e and messages(t, e, n - 1)[1]
  if m and m[1] == id then return m[2], e end
end

local function grown(t, blob)
  if #blob > t.max then
    t.max = #blob
    redis.call('HSET', KEYS[t.at], 'max', text(t.max), 'plain', '')
  end
end

-- The front of the ids does not change within a call; n has few enough digits for Lua's own formatting.
local function append(t, blob)
  if not t.front then
    t.ms = math.max(t.ms, now)
    t.front = text(t.ms) .. '-'
  end
  t.n = t.n + 1
  redis.call('XADD', t.log, t.front .. t.n, 'm', blob)
  grown(t, blob)
  t.len = t.len + 1
  t.bytes = t.bytes + sizeOf(blob)
  t.dirty, t.news = true, true
end

-- What has been counted is written down. The field plain is what plain.lua keeps of others, and is not that any more.
local function save(t)
  redis.call('HSET', KEYS[t.at], 'ms', text(t.ms), 'n', text(t.n), 'bytes', text(t.bytes), 'trim', text(t.trim), 'later', text(t.later),
    'drops', text(t.drops), 'base', text(t.n - t.len), 'gaps', text(t.gaps), 'due', t.due and text(t.due) or '', 'plain', '')
  t.dirty = false
end

-- Delayed messages wait with a number in front that keeps them apart and in order. All that touches a topic brings in first
-- what is due, so an entry never appears behind the back of a reader.
local function delay(t, due, blob)
  t.later = t.later + 1
  redis.call('ZADD', KEYS[t.at + 2], text(due), string.format('%016.0f', t.later) .. blob)
  grown(t, blob)
  if not t.due or due < t.due then t.due = due end
  t.dirty, t.news = true, true
end

--
-- It is counted at once: a script may still be refused after it, by another key.
local function promote(t)
  if not t.due or t.due > now then return end
  local items = redis.call('ZRANGEBYSCORE', KEYS[t.at + 2], '-inf', text(now), 'LIMIT', 0, portion(t, 100))
  allow(KEYS[t.at])
  for _, item in ipairs(items) do append(t, string.sub(item, 17)) end
  if #items > 0 then redis.call('ZREMRANGEBYRANK', KEYS[t.at + 2], 0, #items - 1) end
  t.due = tonumber(redis.call('ZRANGE', KEYS[t.at + 2], 0, 0, 'WITHSCORES')[2])
  save(t)
end

local function topic(at)
  local t = topics[at]
  if t then return t end
  local h = redis.call('HMGET', KEYS[at], 'era', 'ms', 'n', 'bytes', 'trim', 'age', 'count', 'size', 'window', 'due', 'later', 'drops', 'waiters', 'max', 'base', 'gaps')
  t = {
    at = at, log = KEYS[at + 1], era = h[1], ms = tonumber(h[2]) or 0, n = tonumber(h[3]) or 0, bytes = tonumber(h[4]) or 0,
    trim = tonumber(h[5]) or 0, age = tonumber(h[6]), count = tonumber(h[7]), size = tonumber(h[8]), window = tonumber(h[9]),
    due = tonumber(h[10]), later = tonumber(h[11]) or 0, drops = tonumber(h[12]) or 0, waiters = h[13] or '', max = tonumber(h[14]) or 0, gaps = tonumber(h[16]) or 0, ids = {}, fresh = {},
  }
  t.len = t.n - (tonumber(h[15]) or 0)
  if redis.call('XLEN', t.log) == 0 then t.len, t.bytes = 0, 0 end -- the log may have been evicted or deleted
  topics[at] = t
  if not t.era then
    if redis.call('XLEN', t.log) > 0 then error('MUSTER the key ' .. KEYS[at] .. ' is gone and its log is still there: it was evicted or deleted; restore it, or delete the topic\'s other keys') end
    t.age, t.count, t.size, t.window = DEFAULT_AGE, -1, -1, DEFAULT_WINDOW
    return t
  end
  promote(t)
  return t
end

local function create(t)
  if t.era then return end
  t.era = text(micros)
  redis.call('SADD', KEYS[1], KEYS[t.at])
  redis.call('HSET', KEYS[t.at], 'era', t.era, 'age', text(t.age), 'count', text(t.count), 'size', text(t.size), 'window', text(t.window))
  redis.call('PERSIST', KEYS[t.at])
  t.dirty = true
end

-- Whoever found nothing is registered by the channel of its process, and woken by the next who changes something. A user who may
-- not publish makes others wait for their next look, and fails for no reason of its own.
local function wake(t)
  if t.waiters == '' then return end
  for channel in string.gmatch(t.waiters, '%S+') do redis.pcall('PUBLISH', channel, KEYS[t.at]) end
  redis.call('HDEL', KEYS[t.at], 'waiters')
  t.waiters = ''
end

local function await(t, channel)
  if t.news then wake(t) t.news = false end
  if channel == '' or string.find(' ' .. t.waiters .. ' ', ' ' .. channel .. ' ', 1, true) then return end
  allow(KEYS[t.at])
  local record = redis.call('HGET', KEYS[t.at], 'plain') or ''
  if record ~= '' and string.sub(record, -1) ~= 'w' then record = record .. 'w' end
  redis.call('HSET', KEYS[t.at], 'waiters', t.waiters == '' and channel or t.waiters .. ' ' .. channel, 'plain', record)
  if not t.era then redis.call('PEXPIRE', KEYS[t.at], 60000) end
end

-- The place after which to read or to start: era, ms and n of an offset. False: something after it was trimmed, or it is of
-- another log. The entries around it must have ordinals on their sides of n: those of the pack that it is in, which has its ms, on both.
local function placed(t, era, ms, n)
  local num = tonumber(n)
  if t.era ~= era or num > t.n or num < t.trim then return false end
  local before = redis.call('XREVRANGE', t.log, ms .. '-' .. n, '-', 'COUNT', 1)[1]
  if before then
    local _, b = parts(before[1])
    if tonumber(b) > num then return false end
  end
  local behind = redis.call('XRANGE', t.log, '(' .. ms .. '-' .. n, '+', 'COUNT', 1)[1]
  if behind then
    local at, b = parts(behind[1])
    local form, hi, lo = string.byte(behind[2][2], 1, 3)
    local first = at ~= ms and form == 2 and b - hi * 256 - lo + 1 or tonumber(b)
    if first <= num then return false end
  end
  return true
end

-- Every script ends with this: what append, delay and promote have counted is written down, and who waits is woken.
local function finish()
  for at, t in pairs(topics) do
    if t.dirty then save(t) end
    remember(at + 3, t.window, t.fresh)
    if t.news then wake(t) end
  end
end
