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

-- A server whose memory is full refuses a script at its first write, when that may grow, and nothing after a first write that
-- may not. So a script is let through by a write that does nothing, and refused before it has done anything by one that may grow
-- and does nothing.
local function allow(hash) redis.call('HDEL', hash, '') end
local function demand(zset) redis.call('ZADD', zset, 'XX', 0, '') end

-- Known IDs lie in three sets, chosen by the server's time: one for each width. An ID goes into the set of its width, which lives to
-- the end of the next: it is known for one width at least and two at most. All three are asked: when the time went back, an ID
-- lies in one of a width that is still to come.
local function bucket(first, width) return KEYS[first + math.floor(now / width) % 3] end

local function known(first, id)
  for set = first, first + 2 do
    if redis.call('SISMEMBER', KEYS[set], id) == 1 then return true end
  end
  return false
end

-- Which of the IDs in a part of a list are known: true at their places, counted from the part's first.
local function knownOf(first, ids, from, to)
  local out = {}
  if to < from then return out end
  for set = first, first + 2 do
    if redis.call('EXISTS', KEYS[set]) == 1 then
      for start = from, to, 1000 do
        for i, is in ipairs(redis.call('SMISMEMBER', KEYS[set], unpack(ids, start, math.min(start + 999, to)))) do
          if is == 1 then out[start - from + i] = true end
        end
      end
    end
  end
  return out
end

local function remember(first, width, ids)
  if #ids == 0 or width <= 0 then return end
  local key = bucket(first, width)
  all('SADD', key, ids)
  redis.call('PEXPIREAT', key, text((math.floor(now / width) + 2) * width))
end

-- A new width chooses other sets, so what is known moves into the one that is current now.
local function rewidth(first, old, new)
  if old == new or old <= 0 then return end
  local sets = {KEYS[first], KEYS[first + 1], KEYS[first + 2]}
  if new <= 0 then return redis.call('DEL', unpack(sets)) end
  local key = bucket(first, new)
  redis.call('SUNIONSTORE', key, unpack(sets))
  for _, set in ipairs(sets) do
    if set ~= key then redis.call('DEL', set) end
  end
  redis.call('PEXPIREAT', key, text((math.floor(now / new) + 2) * new))
end
