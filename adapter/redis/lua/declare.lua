-- Sets limits. KEYS: 1 topics, 2 the topic, 8-10 IDs of steps. ARGV: age, count, size, window; 0 leaves what is set, -1 is none; what is
-- in front of the ID of a step that is its only message's.
--
-- Where a topic remembers IDs for as long as steps are remembered, such a step is known by its message alone. So those IDs move along when
-- the topic comes to remember them for shorter, or for long enough. No other ID does: those of steps and of messages are two things.

redis.call('SCARD', KEYS[1])
local t = topic(2)
for set = 5, 10 do redis.call('SCARD', KEYS[set]) end
allow(KEYS[2])
create(t)

-- Puts what three sets know, as other makes it, into those from first on.
local function move(from, first, width, other)
  for set = from, from + 2 do
    local ids = {}
    for _, id in ipairs(redis.call('SMEMBERS', KEYS[set])) do ids[#ids + 1] = other(id) end
    remember(first, width, ids)
  end
end

local mark = ARGV[5]
local function marked(id) return mark .. id end
local function plain(id) return string.sub(id, 1, #mark) == mark and string.sub(id, #mark + 1) or nil end

local width = t.window
for i, name in ipairs({'age', 'count', 'size', 'window'}) do
  if ARGV[i] ~= '0' then
    t[name] = tonumber(ARGV[i])
    redis.call('HSET', KEYS[2], name, ARGV[i], 'plain', '')
  end
end
local did, does = width >= STEP_WINDOW, t.window >= STEP_WINDOW
if did and not does then move(5, 8, STEP_WINDOW, marked) end
rewidth(5, width, t.window)
if does and not did then move(8, 5, t.window, plain) end
finish()
return 1
