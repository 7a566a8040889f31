-- Settles many, each whole or not at all, in order. KEYS: 1-5 as for write, 6 the topic, 12 the group, then those of the steps.
-- ARGV: consumer, how long the group remembers, k; k names, k tokens, k verdicts, k IDs; then what belongs to verdicts: of T a
-- step, of R how long and the reason, of L how long.

local G, S = 12, KEYS[13]
local consumer, k = ARGV[1], tonumber(ARGV[3])
local h = redis.call('HMGET', KEYS[G], 'token', 'remember')
if not h[1] then return 'lost' end
local width = memory(G, tonumber(h[2]), tonumber(ARGV[2]))
local states = redis.call('HMGET', S, unpack(ARGV, 4, 3 + k))
local is, was
if width > 0 then
  is = redis.call('SMISMEMBER', bucket(G + 5, width, 0), unpack(ARGV, 4 + 3 * k, 3 + 4 * k))
  was = redis.call('SMISMEMBER', bucket(G + 5, width, 1), unpack(ARGV, 4 + 3 * k, 3 + 4 * k))
end
a = 3 + 4 * k

local out, done, own, ids, gone, acked, back = {}, {}, {}, {}, {}, {}, 0
local token, want

local function finished(name)
  done[#done + 1] = name
  if string.byte(name) == 112 then own[#own + 1] = name end
end

local function later(name, s, wait)
  s.token, s.consumer, s.begun = '-', '-', '0'
  redis.call('HSET', S, name, written(s))
  redis.call('ZREM', KEYS[G + 2], name)
  redis.call('ZADD', KEYS[G + 3], text(now + wait), name)
  topic(6).news, back = true, back + 1
end

for i = 1, k do
  local name, verdict, id = ARGV[3 + i], ARGV[3 + 2 * k + i], ARGV[3 + 3 * k + i]
  if ARGV[3 + k + i] ~= token then
    token = ARGV[3 + k + i]
    want = token .. ' ' .. consumer .. ' '
  end
  local step, wait, reason
  if verdict == 'T' then step = parse() elseif verdict ~= 'A' then wait = num() end
  if verdict == 'R' then reason = arg() end
  if gone[name] or not states[i] or string.sub(states[i], 1, #want) ~= want then
    out[i] = 'stale'
  elseif wait then
    local s = state(states[i])
    if verdict == 'R' then s.attempt, s.reason = text(s.attempt + 1), reason end
    later(name, s, wait)
    out[i], gone[name] = 1, true
  elseif width > 0 and (is[i] == 1 or was[i] == 1 or acked[id]) then
    finished(name)
    out[i], gone[name] = 'again', true
  else
    out[i] = step and check(step) or 1
    if out[i] == 1 then
      if step then out[i] = apply(step) end
      finished(name)
      gone[name] = true
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
