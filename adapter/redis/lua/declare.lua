-- Sets limits. KEYS: 1 topics, 2 the topic. ARGV: age, count, size, window; 0 leaves what is set, -1 is none.

redis.call('SCARD', KEYS[1])
local t = topic(2)
for set = 5, 7 do redis.call('SCARD', KEYS[set]) end
allow(KEYS[2])
create(t)
local width = t.window
for i, name in ipairs({'age', 'count', 'size', 'window'}) do
  if ARGV[i] ~= '0' then
    t[name] = tonumber(ARGV[i])
    redis.call('HSET', KEYS[2], name, ARGV[i], 'plain', '')
  end
end
rewidth(5, width, t.window)
finish()
return 1
