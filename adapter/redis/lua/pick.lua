-- Lends the new messages of a group, in the most frequent case: there are few or none, and nothing else is due. It leaves and answers what
-- fetch.lua would, or answers 0 before it has written anything: then fetch.lua is asked. That is so where there is no such topic or group,
-- a delayed message, the end of a loan or a message that waits is due, an ID is remembered, a message was taken out of the log, the group
-- is to remember for longer, or the messages may be too large for one answer. KEYS: 1 the topic, 2 its log, 3 the group.
-- ARGV: consumer, loan, limit, bytes, how long the group remembers, channel to be woken by ('' for none), 1 if that is also wanted
-- where messages are handed out, after which there are no more.
-- Answers as fetch.lua, but in packs what lies in packs; where messages are handed out, the time until it is worth to look again is -2
-- unless the channel is registered.

local t = redis.call('HMGET', KEYS[1], 'era', 'drops', 'due', 'ms', 'n', 'max', 'waiters', 'gaps', 'plain')
local g = redis.call('HMGET', KEYS[3], 'token', 'ms', 'n', 'remember', 'c:' .. ARGV[1])
if not t[1] or not g[1] then return 0 end
local width, limit, channel = tonumber(g[4]), math.min(tonumber(ARGV[3]), 500), ARGV[6]
local behind = tonumber(t[5] or 0) - g[3]
local most = math.min(behind, limit)
if width < tonumber(ARGV[5]) or most * (t[6] or 0) > tonumber(ARGV[4]) or most > 0 and g[3] - (t[8] or 0) < 0 then return 0 end
local time = redis.call('TIME')
local now = math.floor((time[1] * 1000000 + time[2]) / 1000)
local due = tonumber(t[3])
for key = 5, 6 do
  local score = tonumber(redis.call('ZRANGE', KEYS[key], 0, 0, 'WITHSCORES')[2])
  if score and not (due and due < score) then due = score end
end
if due and due <= now then return 0 end

local deadline, token, ms, n, count, firstms, first = now + ARGV[2], string.format('%.0f', g[1] + 1), g[2], g[3], 0
local out = {t[1], string.format('%.0f', deadline), token, -1, 0, ''}
local ids, given = {}, 6

-- Takes so many messages of a pack behind so many: all of it, or a pack of them.
local function cut(pack, all, skip, use)
  if width <= 0 and use == all then return pack end
  local at, from, till, byte = 4, 4, #pack, string.byte
  for i = 1, skip + use do
    if i == skip + 1 then from = at end
    local hi, lo, _, a, b = byte(pack, at, at + 4)
    if width > 0 and i > skip then ids[#ids + 1] = string.sub(pack, at + 7, at + 6 + a * 256 + b) end
    at = at + 2 + hi * 256 + lo
    till = at - 1
  end
  if use == all then return pack end
  return string.char(2, math.floor(use / 256), use % 256) .. string.sub(pack, from, till)
end

if most > 0 then
  local from, want = '(' .. ms .. '-' .. n, math.min(most, math.ceil(most / PACK) + 1)
  n = n + 0
  repeat
    local some = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', want)
    for _, e in ipairs(some) do
      local id, blob = e[1], e[2][2]
      local at, last = string.match(id, '^(%d+)-(%d+)$')
      local form, hi, lo = string.byte(blob, 1, 3)
      local all = form == 2 and hi * 256 + lo or 1
      local before = last - all -- the n before its first
      local skip = math.max(n - before, 0)
      if count == 0 then
        n, firstms, first = before + skip, at, before + skip + 1
      elseif before ~= n then
        return 0
      end
      local use = math.min(all - skip, most - count)
      if form == 2 then
        blob = cut(blob, all, skip, use)
      elseif width > 0 then
        ids[#ids + 1] = string.sub(blob, 6, 5 + hi * 256 + lo)
      end
      count, n, ms = count + use, n + use, at
      out[given + 1], out[given + 2] = at .. '-' .. n, blob
      given = given + 2
      if count == most then break end
    end
    if #some > 0 then from = '(' .. some[#some][1] end
    local ended = #some < want
    want = 2 * want
  until ended or count == most
  if count == 0 then return 0 end
  n, first = n .. '', first .. ''
  for set = 8, 10 do
    if count == 1 then
      if width > 0 and redis.call('SISMEMBER', KEYS[set], ids[1]) == 1 then return 0 end
    elseif width > 0 and redis.call('EXISTS', KEYS[set]) == 1 then
      if math.max(unpack(redis.call('SMISMEMBER', KEYS[set], unpack(ids)))) == 1 then return 0 end
    end
  end
end

-- What is taken off makes room: the first write is one that a full memory does not stop. It meets a key of another type, too.
redis.call('HDEL', KEYS[11], '')
if count > 0 then
  local record = {ARGV[1], count, firstms, first, ms, n, string.rep('\255', math.floor(count / 8))}
  if count % 8 > 0 then record[7] = record[7] .. string.char(2 ^ (count % 8) - 1) end
  redis.call('HSET', KEYS[11], token, table.concat(record, ' '))
  redis.call('HSET', KEYS[3], 'token', token, 'ms', ms, 'n', n, 'c:' .. ARGV[1], (g[5] or 0) + count)
  redis.call('ZADD', KEYS[5], out[2], 'f' .. token)
  if not due or deadline < due then due = deadline end
  if n ~= t[5] or ARGV[7] ~= '1' then channel = '' end
  if channel == '' then due = now - 2 end
end
out[4] = due and due - now or -1
out[5] = count
out[6] = table.concat({ms, n, t[4] or '0', t[5] or '0', t[2] or '0', t[6] or '0'}, ' ')
local waiters = t[7] or ''
if channel ~= '' and not string.find(' ' .. waiters .. ' ', ' ' .. channel .. ' ', 1, true) then
  local record = t[9] or ''
  if record ~= '' and string.sub(record, -1) ~= 'w' then record = record .. 'w' end
  redis.call('HSET', KEYS[1], 'waiters', waiters == '' and channel or waiters .. ' ' .. channel, 'plain', record)
end
return out
