-- Hands out messages on loan. KEYS: 1 topics, 2 the topic, 8 the group. ARGV: consumer, loan, limit, bytes, how long the group
-- remembers, channel to be woken by ('' for none).
-- Answers {era, deadline, token, ms until it is worth to look again, number of new ones, then <id> <message> for each,
-- and <name> <state> <message> for each that was handed out before}; 'lost' when there is no group.

local G, S = 8, KEYS[9]
local consumer, loan, limit, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local t = topic(2)
local h = redis.call('HMGET', KEYS[G], 'token', 'ms', 'n', 'remember')
if not t.era or not h[1] then finish() return 'lost' end
local width = memory(G, tonumber(h[4]), tonumber(ARGV[5]))
local token = text(h[1] + 1)
local head = token .. ' ' .. consumer .. ' '
local old, states, loans, forget, own, count = {}, {}, {}, {}, {}, 0
local deadline = text(now + loan)

local function lend(name, value)
  states[#states + 1], states[#states + 2] = name, value
  loans[#loans + 1], loans[#loans + 2] = deadline, name
  count = count + 1
end

local function drop(name)
  forget[#forget + 1] = name
  if string.byte(name) == 112 then own[#own + 1] = name end
end

-- Messages that were handed out before, or that wait in the group for their time, get half when the log has more.
local function again(key, from)
  if from <= 0 then return end
  local names = redis.call('ZRANGEBYSCORE', key, '-inf', text(now), 'LIMIT', 0, from)
  if #names == 0 then return end
  for i, value in ipairs(redis.call('HMGET', S, unpack(names))) do
    local name, s = names[i], state(value or '- - 0')
    if s.token ~= '-' then
      lent(G, s.consumer, -1)
      s.lost, s.crashes = text(s.lost + 1), text(s.crashes + s.begun)
    end
    local blob
    if string.byte(name) == 112 then
      blob = redis.call('HGET', KEYS[G + 4], name)
    else
      local entry = redis.call('XRANGE', t.log, s.ms .. '-' .. name, s.ms .. '-' .. name)[1]
      blob = entry and entry[2][2]
    end
    if not blob or width > 0 and known(G + 5, width, idOf(blob)) then
      drop(name)
    else
      s.token, s.consumer, s.begun = token, consumer, '0'
      value = written(s)
      lend(name, value)
      old[#old + 1], old[#old + 2], old[#old + 3] = name, value, blob
      bytes = bytes - #blob
      if key == KEYS[G + 3] then redis.call('ZREM', key, name) end
    end
    if bytes <= 0 then return end
  end
end

local more = t.n > tonumber(h[3])
local half = more and math.floor((limit + token % 2) / 2) or limit
if half > 250 then half = 250 end
again(KEYS[G + 2], half)
again(KEYS[G + 3], half - count)

-- New ones, in the order of the log: as many as their average size lets through.
local out = {t.era, deadline, token, -1, 0}
local ms, n, skipped = h[2], h[3], 0
local room = math.min(limit - count, 500, math.max(1, math.floor(bytes / (math.max(t.bytes, 0) / math.max(t.len, 1) + 64))))
if more and room > 0 then
  local entries = redis.call('XRANGE', t.log, '(' .. ms .. '-' .. n, '+', 'COUNT', room)
  local ids, is, was = {}, nil, nil
  if width > 0 and #entries > 0 then
    for i, e in ipairs(entries) do ids[i] = idOf(e[2][2]) end
    is = redis.call('SMISMEMBER', bucket(G + 5, width, 0), unpack(ids))
    was = redis.call('SMISMEMBER', bucket(G + 5, width, 1), unpack(ids))
  end
  for i, e in ipairs(entries) do
    ms, n = parts(e[1])
    if is and (is[i] == 1 or was[i] == 1) then
      skipped = skipped + 1
    else
      lend(n, head .. ms)
      out[#out + 1], out[#out + 2] = e[1], e[2][2]
    end
  end
  if #entries == 0 then ms, n = text(t.ms), text(t.n) end
  out[5] = #entries - skipped
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
