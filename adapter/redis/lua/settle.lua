-- Settles many, each whole or not at all, in order. KEYS: 1-5 as for write, 6 the topic, 12 the group, then those of the steps.
-- ARGV: consumer, how long the group remembers, k; k names, k tokens, k verdicts, k IDs; then what belongs to verdicts: of T a
-- step, of R how long and the reason, of L how long. A step that puts something in needs memory; to acknowledge and to give back
-- need not wait for it.

local G, S = 12, KEYS[13]
local consumer, k = ARGV[1], tonumber(ARGV[3])
local h = redis.call('HMGET', KEYS[G], 'token', 'remember')
if not h[1] then return 'lost' end
local states = redis.call('HMGET', S, unpack(ARGV, 4, 3 + k))

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
  local w = {mine = states[i] and string.sub(states[i], 1, #want) == want}
  if verdict == 'T' then
    w.step = parse()
    grows = grows or w.mine and puts(w.step)
  elseif verdict ~= 'A' then
    w.wait = num()
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

local out, done, own, ids, gone, acked, back = {}, {}, {}, {}, {}, {}, 0

local function finished(name)
  done[#done + 1], gone[name] = name, true
  if string.byte(name) == 112 then own[#own + 1] = name end
end

local function later(name, s, wait)
  s.token, s.consumer, s.begun = '-', '-', '0'
  redis.call('HSET', S, name, written(s))
  redis.call('ZREM', KEYS[G + 2], name)
  redis.call('ZADD', KEYS[G + 3], text(now + wait), name)
  topic(6).news, back, gone[name] = true, back + 1, true
end

for i = 1, k do
  local name, id, w = ARGV[3 + i], ARGV[3 + 3 * k + i], work[i]
  if gone[name] or not w.mine then
    out[i] = 'stale'
  elseif w.wait then
    local s = state(states[i])
    if w.reason then s.attempt, s.reason = text(s.attempt + 1), w.reason end
    later(name, s, w.wait)
    out[i] = 1
  elseif width > 0 and (past[i] or acked[id]) then
    finished(name)
    out[i] = 'again'
  else
    out[i] = w.step and check(w.step) or 1
    if out[i] == 1 then
      if w.step then out[i] = apply(w.step) end
      finished(name)
      if width > 0 then ids[#ids + 1], acked[id] = id, true end
    end
  end
end

all('HDEL', S, done)
all('ZREM', KEYS[G + 2], done)
all('HDEL', KEYS[G + 4], own)
remember(G + 5, width, ids)
if #done + back > 0 then lent(G, consumer, -#done - back) end
finish()
return out
