-- Gives up a topic with all its groups. KEYS: 1 topics, 2 the topic, then its groups from 8 on, 9 keys each. ARGV: their names.

if redis.call('EXISTS', KEYS[2], KEYS[3]) == 0 or not redis.call('HGET', KEYS[2], 'era') and redis.call('EXISTS', KEYS[3]) == 0 then return 'none' end
if not complete(1) then return 'changed' end
for i = 1, #ARGV do
  if redis.call('ZCOUNT', KEYS[9 * i + 1], '(' .. text(now), '+inf') > 0 then return 'loaned' end
end
local waiters = redis.call('HGET', KEYS[2], 'waiters') or ''
for channel in string.gmatch(waiters, '%S+') do redis.pcall('PUBLISH', channel, KEYS[2]) end
redis.call('SREM', KEYS[1], KEYS[2])
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
return 1
