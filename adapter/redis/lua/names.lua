-- Sets of known IDs, as the scripts of the most frequent steps use them. Of the IDs that are given none is there twice.

local now

-- The server's clock is asked once, where it is needed.
local function clock()
  if not now then
    local time = redis.call('TIME')
    now = math.floor((time[1] * 1000000 + time[2]) / 1000)
  end
  return now
end

-- Whether one of the names is known in one set.
local function inside(key, names, from, to)
  if from == to then return redis.call('SISMEMBER', key, names[from]) == 1 end
  return math.max(unpack(redis.call('SMISMEMBER', key, unpack(names, from, to)))) == 1
end

-- The same of a set that is often not there: to ask it about many costs as much as one that is.
local function older(key, names, from, to)
  if from < to and redis.call('EXISTS', key) == 0 then return false end
  return inside(key, names, from, to)
end

-- Whether one of the names is known in the three sets from first on.
local function known(first, names, from, to)
  return older(KEYS[first], names, from, to) or older(KEYS[first + 1], names, from, to) or older(KEYS[first + 2], names, from, to)
end

local function remember(first, width, names, from, to)
  local at = math.floor(clock() / width)
  local key = KEYS[first + at % 3]
  redis.call('SADD', key, unpack(names, from, to))
  redis.call('PEXPIREAT', key, (at + 2) * width .. '')
end
