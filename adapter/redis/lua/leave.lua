-- Gives up one group. KEYS: 1 topics, 2 the topic, 8 the group. ARGV: its name.

local t = topic(2)
if not t.era or redis.call('EXISTS', KEYS[8]) == 0 then finish() return 'none' end
if redis.call('ZCOUNT', KEYS[10], '(' .. text(now), '+inf') > 0 then finish() return 'loaned' end
redis.call('HDEL', KEYS[2], 'g:' .. ARGV[1], 'held', 'since')
for i = 8, 16 do redis.call('UNLINK', KEYS[i]) end
t.news = true
finish()
return 1
