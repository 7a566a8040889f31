-- Hands out messages on loan. KEYS: 1 topics, 2 the topic, 8 the group. ARGV: consumer, loan, limit, bytes, how long the group
-- remembers, channel to be woken by ('' for none).
-- Answers {era, deadline, token, ms until it is worth to look again, number of new ones, then <id> <message> for each,
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
allow(KEYS[G])
local width = memory(G, tonumber(h[4]), tonumber(ARGV[5]))
local token = text(h[1] + 1)
local head = token .. ' ' .. consumer .. ' '
local old, states, loans, forget, own, ready, taken, count = {}, {}, {}, {}, {}, {}, {}, 0
local deadline = text(now + loan)

local function lend(name, value)
  states[#states + 1], states[#states + 2] = name, value
  loans[#loans + 1], loans[#loans + 2] = deadline, name
  count = count + 1
end

local function bodyOf(name, s)
  if string.byte(name) == 112 then return redis.call('HGET', KEYS[G + 4], name) end
  local entry = redis.call('XRANGE', t.log, s.ms .. '-' .. name, s.ms .. '-' .. name)[1]
  return entry and entry[2][2]
end

-- Messages that were handed out before, or that wait in the group for their time, get half when the log has more.
local function again(key, from)
  if from <= 0 or bytes <= 0 then return end
  local names = redis.call('ZRANGEBYSCORE', key, '-inf', text(now), 'LIMIT', 0, from)
  if #names == 0 then return end
  for i, value in ipairs(redis.call('HMGET', S, unpack(names))) do
    local name, s = names[i], state(value or '- - 0')
    if s.token ~= '-' then
      taken[s.consumer] = (taken[s.consumer] or 0) + 1
      s.lost, s.crashes = text(s.lost + 1), text(s.crashes + s.begun)
    end
    local blob = bodyOf(name, s)
    if not blob or width > 0 and known(G + 5, idOf(blob)) then
      forget[#forget + 1] = name
      if string.byte(name) == 112 then own[#own + 1] = name end
    else
      s.token, s.consumer, s.begun = token, consumer, '0'
      value = written(s)
      lend(name, value)
      old[#old + 1], old[#old + 2], old[#old + 3] = name, value, blob
      bytes = bytes - #blob
      if key == KEYS[G + 3] then ready[#ready + 1] = name end
    end
    if bytes <= 0 then return end
  end
end

local more = t.n > tonumber(h[3])
local half = more and math.floor((limit + token % 2) / 2) or limit
if half > 250 then half = 250 end
again(KEYS[G + 2], half)
again(KEYS[G + 3], half - count)

-- New ones, in the order of the log.
local out = {t.era, deadline, token, -1, 0}
local ms, n, skipped = h[2], h[3], 0
local room = math.min(limit - count, 500)
if more and room > 0 and (bytes > 0 or count == 0) then
  local found = entries(t, ms .. '-' .. n, room, math.max(bytes, 1))
  local ids, past = {}, {}
  if width > 0 and #found > 0 then
    for i, e in ipairs(found) do ids[i] = idOf(e[2][2]) end
    past = knownOf(G + 5, ids, 1, #ids)
  end
  for i, e in ipairs(found) do
    ms, n = parts(e[1])
    if past[i] then
      skipped = skipped + 1
    else
      lend(n, head .. ms)
      out[#out + 1], out[#out + 2] = e[1], e[2][2]
    end
  end
  if #found == 0 then ms, n = text(t.ms), text(t.n) end
  out[5] = #found - skipped
end
for _, v in ipairs(old) do out[#out + 1] = v end

if count > 0 then
  redis.call('HSET', KEYS[G], 'token', token, 'ms', ms, 'n', n)
  all('HSET', S, states)
  all('ZADD', KEYS[G + 2], loans)
  lent(G, consumer, count)
elseif n ~= h[3] then
  redis.call('HSET', KEYS[G], 'ms', ms, 'n', n)
end
for name, some in pairs(taken) do lent(G, name, -some) end
all('ZREM', KEYS[G + 3], ready)
all('HDEL', S, forget)
all('ZREM', KEYS[G + 2], forget)
all('ZREM', KEYS[G + 3], forget)
all('HDEL', KEYS[G + 4], own)

if count == 0 then
  if skipped > 0 or #forget > 0 then
    out[4] = 0
  else
    local first = t.due
    for _, key in ipairs({KEYS[G + 2], KEYS[G + 3]}) do
      local score = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
      if score and (not first or score < first) then first = score end
    end
    if first then out[4] = math.max(0, first - now) end
    await(t, ARGV[6])
  end
end
finish()
return out
