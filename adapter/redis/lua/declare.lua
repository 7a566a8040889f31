-- Sets limits. KEYS: 1 topics, 2 the topic, 8-10 IDs of steps. ARGV: age, count, size, window; 0 leaves what is set, -1 is none.
--
-- Where a topic remembers IDs for as long as steps are remembered, a step whose only message has its ID is known by that alone. So those IDs
-- move along when the topic comes to remember them for shorter, or for long enough.

redis.call('SCARD', KEYS[1])
local t = topic(2)
for set = 5, 10 do redis.call('SCARD', KEYS[set]) end
allow(KEYS[2])
create(t)
local width = t.window
for i, name in ipairs({'age', 'count', 'size', 'window'}) do
  if ARGV[i] ~= '0' then
    t[name] = tonumber(ARGV[i])
    redis.call('HSET', KEYS[2], name, ARGV[i], 'plain', '')
  end
end
local did, does = width >= STEP_WINDOW, t.window >= STEP_WINDOW
if did and not does then unite(8, STEP_WINDOW, 5) end
rewidth(5, width, t.window)
if does and not did then unite(5, t.window, 8) end
finish()
return 1
