-- The server's clock, sets of IDs that are known for a time, and numbers as text.

local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

-- Lua's own formatting of numbers loses digits from 10^14 on.
local function text(n) return string.format('%.0f', n) end

-- Calls cmd on key with the items of list, 1,000 at a time: unpack has a limit.
local function all(cmd, key, list)
  for i = 1, #list, 1000 do redis.call(cmd, key, unpack(list, i, math.min(i + 999, #list))) end
end

-- Known IDs lie in three sets, chosen by the server's time: one for each width. An ID is known in its own width and the next,
-- so for one width at least and two at most. The third set is one that has expired before its turn comes again.
local function bucket(first, width, back) return KEYS[first + (math.floor(now / width) - back) % 3] end

local function known(first, width, id)
  return redis.call('SISMEMBER', bucket(first, width, 0), id) == 1 or redis.call('SISMEMBER', bucket(first, width, 1), id) == 1
end

local function remember(first, width, ids)
  if #ids == 0 or width <= 0 then return end
  local key = bucket(first, width, 0)
  all('SADD', key, ids)
  redis.call('PEXPIREAT', key, text((math.floor(now / width) + 2) * width))
end

-- A new width chooses other sets, so what is known moves into the one that is current now.
local function rewidth(first, old, new)
  if old == new or old <= 0 then return end
  local sets = {KEYS[first], KEYS[first + 1], KEYS[first + 2]}
  if new <= 0 then return redis.call('DEL', unpack(sets)) end
  local key = bucket(first, new, 0)
  redis.call('SUNIONSTORE', key, unpack(sets))
  for _, set in ipairs(sets) do
    if set ~= key then redis.call('DEL', set) end
  end
  redis.call('PEXPIREAT', key, text((math.floor(now / new) + 2) * new))
end
