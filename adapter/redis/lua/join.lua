-- Makes a group unless it exists. KEYS: 1 topics, 2 the topic, 8 the group. ARGV: name, from (earliest, latest, after), era, ms, n,
-- how long it remembers.

local t = topic(2)
local asked = tonumber(ARGV[6])
local stored = redis.call('HGET', KEYS[8], 'remember')
if stored then
  memory(8, tonumber(stored), asked)
  finish()
  return 1
end
local ms, n = '0', '0'
if ARGV[2] == 'after' then
  if not t.era or not placed(t, ARGV[3], ARGV[4], ARGV[5]) then finish() return 'gap' end
  ms, n = ARGV[4], ARGV[5]
elseif ARGV[2] == 'latest' then
  ms, n = text(t.ms), text(t.n)
end
redis.call('SCARD', KEYS[1])
-- What an earlier group left behind, when its hash was evicted or deleted, is not taken over.
for i = 9, 16 do redis.call('UNLINK', KEYS[i]) end
create(t)
-- Tokens begin at the time, so those of an earlier group of that name are not met again.
redis.call('HSET', KEYS[8], 'token', text(micros), 'ms', ms, 'n', n, 'floor', n, 'own', '0', 'remember', text(asked))
redis.call('HSET', KEYS[2], 'g:' .. ARGV[1], '1')
finish()
return 1
