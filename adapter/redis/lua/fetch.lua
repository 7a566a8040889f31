-- Hands out messages on loan. KEYS: 1 topics, 2 the topic, 8 the group. ARGV: consumer, loan, limit, bytes, how long the group
-- remembers, channel to be woken by ('' for none).
-- Answers {era, deadline, token, ms until it is worth to look again (-1: not known, -2: nothing is registered), number of new ones, where the group stands as spotted in
-- ahead.go reads it, then <id> <message> for each,
-- and <name> <state> <message> for each that was handed out before}; 'lost' when there is no group.
--
-- It reads all that it needs before it writes: a key of a wrong type ends it with nothing done. What is taken off makes room, so a
-- full memory does not stop it.

local G, S = 8, KEYS[9]
local consumer, loan, limit, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local t = topic(2)
local h = redis.call('HMGET', KEYS[G], 'token', 'ms', 'n', 'remember')
if not t.era or not h[1] then finish() return 'lost' end
redis.call('ZCARD', KEYS[G + 2])
redis.call('ZCARD', KEYS[G + 3])
redis.call('HLEN', KEYS[G + 8])
allow(KEYS[G])
local width = memory(G, tonumber(h[4]), tonumber(ARGV[5]))
local token = text(h[1] + 1)
local old, states, loans, forget, own, ready, taken, opened, count = {}, {}, {}, {}, {}, {}, {}, {}, 0
local deadline = text(now + loan)

local function bodyOf(name, s)
  if string.byte(name) == 112 then return redis.call('HGET', KEYS[G + 4], name) end
  return (find(t, s.ms .. '-' .. name))
end

local function lend(name, s, blob)
  s.token, s.consumer, s.begun = token, consumer, '0'
  local value = written(s)
  states[#states + 1], states[#states + 2] = name, value
  loans[#loans + 1], loans[#loans + 2] = deadline, name
  old[#old + 1], old[#old + 2], old[#old + 3] = name, value, blob
  count, bytes = count + 1, bytes - #blob
end

-- Messages of a record whose loan has ended. What the log does not have any more was removed from it. As a record holds no more
-- than one answer, it may be read to its end.
local function dissolve(r, most)
  local before, n, from, want = r.open, r.n, r.ms .. '-' .. text(r.n), portion(t, 20)
  local function gone(up)
    for k = n, up do
      if lies(r, k) then take(r, k) end
    end
    n = up + 1
  end
  local full, ended = false, false
  local function handle(m)
    ended = m.n > r.last
    if ended then return end
    gone(m.n - 1)
    if lies(r, n) then
      full = most <= 0 or bytes <= 0
      if full then return end
      if not (width > 0 and known(G + 5, idOf(m[2]))) then
        lend(text(n), {ms = m.ms, attempt = '0', lost = '1', crashes = '0', first = m.ms, reason = ''}, m[2])
        most = most - 1
      end
    end
    gone(n)
  end
  repeat
    local some = redis.call('XRANGE', t.log, from, '+', 'COUNT', want)
    for _, e in ipairs(some) do
      for _, m in ipairs(messages(t, e, n - 1)) do
        handle(m)
        if full or ended then break end
      end
      if full or ended then break end
      from = '(' .. e[1]
    end
    if not full and (ended or #some < want) then gone(r.last) end
  until full or n > r.last
  taken[r.consumer] = (taken[r.consumer] or 0) + before - r.open
  opened[#opened + 1] = r
end

-- Messages that were handed out before, or that wait in the group for their time, get half when the log has more.
local function again(key, from)
  if from <= 0 or bytes <= 0 then return end
  local names, singles, most = redis.call('ZRANGEBYSCORE', key, '-inf', text(now), 'LIMIT', 0, from), {}, count + from
  for _, name in ipairs(names) do
    if string.byte(name) ~= 102 then
      singles[#singles + 1] = name
    elseif count < most and bytes > 0 then
      local r = record(G, string.sub(name, 2))
      if r then dissolve(r, most - count) else forget[#forget + 1] = name end
    end
  end
  if #singles == 0 then return end
  for i, value in ipairs(redis.call('HMGET', S, unpack(singles))) do
    if count >= most or bytes <= 0 then return end
    local name, s = singles[i], state(value or '- - 0')
    if s.token ~= '-' then
      taken[s.consumer] = (taken[s.consumer] or 0) + 1
      s.lost, s.crashes = text(s.lost + 1), text(s.crashes + s.begun)
    end
    local blob = bodyOf(name, s)
    if not blob or width > 0 and known(G + 5, idOf(blob)) then
      forget[#forget + 1] = name
      if string.byte(name) == 112 then own[#own + 1] = name end
    else
      lend(name, s, blob)
      if key == KEYS[G + 3] then ready[#ready + 1] = name end
    end
  end
end

local more = t.n > tonumber(h[3])
local half = more and math.floor((limit + token % 2) / 2) or limit
if half > 250 then half = 250 end
again(KEYS[G + 2], half)
again(KEYS[G + 3], half - count)

-- New ones, in the order of the log, are lent as one. Where so much was removed between them that the record would be long, the rest
-- waits for the next fetch.
local out = {t.era, deadline, token, -2, 0, ''}
local ms, n, skipped = h[2], h[3], 0
local room = math.min(limit - count, 500)
local head, first, last, bits, fresh = '', nil, nil, {}, 0
if more and room > 0 and (bytes > 0 or count == 0) then
  local found = entries(t, ms .. '-' .. n, room, math.max(bytes, 1))
  local ids, past = {}, {}
  if width > 0 and #found > 0 then
    for i, m in ipairs(found) do ids[i] = idOf(m[2]) end
    past = knownOf(G + 5, ids, 1, #ids)
  end
  for i, m in ipairs(found) do
    if past[i] then
      skipped = skipped + 1
    else
      if not first then first, head = m.n, m.ms .. ' ' .. text(m.n) .. ' ' end
      local k = m.n - first
      if k >= 4096 then break end
      local byte = math.floor(k / 8) + 1
      for b = #bits + 1, byte do bits[b] = 0 end
      bits[byte] = bits[byte] + 2 ^ (k % 8)
      fresh, last = fresh + 1, m[1]
      out[#out + 1], out[#out + 2] = m[1], m[2]
    end
    ms, n = m.ms, text(m.n)
  end
  if #found == 0 then ms, n = text(t.ms), text(t.n) end
  out[5] = fresh
end
out[6] = table.concat({ms, n, text(t.ms), text(t.n), text(t.drops), text(t.max)}, ' ')
for _, v in ipairs(old) do out[#out + 1] = v end
count = count + fresh

if count > 0 then
  redis.call('HSET', KEYS[G], 'token', token, 'ms', ms, 'n', n)
  if fresh > 0 then
    local lastms, lastn = parts(last)
    redis.call('HSET', KEYS[G + 8], token, consumer .. ' ' .. fresh .. ' ' .. head .. lastms .. ' ' .. lastn .. ' ' .. string.char(unpack(bits)))
    loans[#loans + 1], loans[#loans + 2] = deadline, 'f' .. token
  end
  all('HSET', S, states)
  all('ZADD', KEYS[G + 2], loans)
  lent(G, consumer, count)
elseif n ~= h[3] then
  redis.call('HSET', KEYS[G], 'ms', ms, 'n', n)
end
for name, some in pairs(taken) do lent(G, name, -some) end
for _, r in ipairs(opened) do put(r) end
all('ZREM', KEYS[G + 3], ready)
all('HDEL', S, forget)
all('ZREM', KEYS[G + 2], forget)
all('ZREM', KEYS[G + 3], forget)
all('HDEL', KEYS[G + 4], own)

if count == 0 then
  if skipped > 0 or #forget > 0 or #opened > 0 then
    out[4] = 0
  else
    local first = t.due
    for _, key in ipairs({KEYS[G + 2], KEYS[G + 3]}) do
      local score = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
      if score and (not first or score < first) then first = score end
    end
    out[4] = first and math.max(0, first - now) or -1
    await(t, ARGV[6])
  end
end
finish()
return out
