-- Settles many, each whole or not at all, in order. KEYS: 1-5 as for write, 6 the topic, 12 the group, then those of the steps.
-- ARGV: consumer, how long the group remembers, k; k names, k tokens, k verdicts, k IDs; then what belongs to verdicts: of T a
-- step, of R how long, the ms of the entry and the reason, of L how long and the ms. A step that puts something in needs memory; to acknowledge and to give back
-- need not wait for it.

local G, S = 12, KEYS[13]
local consumer, k = ARGV[1], tonumber(ARGV[3])
local h = redis.call('HMGET', KEYS[G], 'token', 'remember')
if not h[1] then return 'lost' end

-- Where each lies: in a record, or it has a state.
local from, states, names, places = {}, {}, {}, {}
for i = 1, k do
  local name, r = ARGV[3 + i], record(G, ARGV[3 + k + i])
  if r and r.consumer == consumer and lies(r, name) then
    from[i] = r
  else
    names[#names + 1], places[#places + 1] = name, i
  end
end
if #names > 0 then
  for j, value in ipairs(redis.call('HMGET', S, unpack(names))) do states[places[j]] = value end
else
  redis.call('HLEN', S)
end

local function puts(s)
  for _, c in ipairs(s.changes) do
    if not c.delete then return true end
  end
  return #s.messages > 0
end

-- What is to be done, and whether it is of a loan that counts.
local work, token, want, grows, waits = {}, nil, nil, false, false
a = 3 + 4 * k
for i = 1, k do
  local verdict = ARGV[3 + 2 * k + i]
  if ARGV[3 + k + i] ~= token then
    token = ARGV[3 + k + i]
    want = token .. ' ' .. consumer .. ' '
  end
  local w = {mine = from[i] or states[i] and string.sub(states[i], 1, #want) == want}
  if verdict == 'T' then
    w.step = parse()
    grows = grows or w.mine and puts(w.step)
  elseif verdict ~= 'A' then
    w.wait, w.ms = num(), arg()
    if w.mine then waits = true end
  end
  if verdict == 'R' then w.reason = arg() end
  work[i] = w
end
if grows then demand(KEYS[8]) else allow(KEYS[G]) end

-- Every key that may be written is looked at: none is of another type.
redis.call('ZCARD', KEYS[G + 2])
redis.call('HLEN', KEYS[G + 4])
local width = memory(G, tonumber(h[2]), tonumber(ARGV[2]))
local past = width > 0 and knownOf(G + 5, ARGV, 4 + 3 * k, 3 + 4 * k) or {}
if waits then
  redis.call('ZCARD', KEYS[G + 3])
  topic(6)
end
local steps = {}
for i = 1, k do
  if work[i].mine and work[i].step then steps[#steps + 1] = work[i].step end
end
prepare(steps)

local out, done, own, ids, gone, acked, count = {}, {}, {}, {}, {}, {}, 0

local function finished(i, name)
  count, gone[name] = count + 1, true
  if from[i] then return take(from[i], tonumber(name)) end
  done[#done + 1] = name
  if string.byte(name) == 112 then own[#own + 1] = name end
end

local function later(i, name, s, wait)
  count, gone[name] = count + 1, true
  s.token, s.consumer, s.begun = '-', '-', '0'
  redis.call('HSET', S, name, written(s))
  if from[i] then take(from[i], tonumber(name)) else redis.call('ZREM', KEYS[G + 2], name) end
  redis.call('ZADD', KEYS[G + 3], text(now + wait), name)
  topic(6).news = true
end

for i = 1, k do
  local name, id, w = ARGV[3 + i], ARGV[3 + 3 * k + i], work[i]
  if gone[name] or not w.mine then
    out[i] = 'stale'
  elseif w.wait then
    local s = from[i] and {ms = w.ms, attempt = '0', lost = '0', crashes = '0', first = w.ms, reason = ''} or state(states[i])
    if w.reason then s.attempt, s.reason = text(s.attempt + 1), w.reason end
    later(i, name, s, w.wait)
    out[i] = 1
  elseif width > 0 and (past[i] or acked[id]) then
    finished(i, name)
    out[i] = 'again'
  else
    out[i] = w.step and check(w.step) or 1
    if out[i] == 1 then
      if w.step then out[i] = apply(w.step) end
      finished(i, name)
      if width > 0 then ids[#ids + 1], acked[id] = id, true end
    end
  end
end

for _, r in pairs(from) do
  if r.dirty then put(r) end
end
all('HDEL', S, done)
all('ZREM', KEYS[G + 2], done)
all('HDEL', KEYS[G + 4], own)
remember(G + 5, width, ids)
if count > 0 then lent(G, consumer, -count) end
finish()
return out
