-- Lends what the caller has read already: the messages behind the group's place, of which there were many. It writes what fetch.lua
-- would, or answers 0 before it has written anything: then fetch.lua is asked. That is so where the place is another, something may
-- have been taken out of the log since, or something else is due. KEYS: 1 the topic, 2 its log, 3 the group.
-- ARGV: consumer, loan, how long the group remembers, era, removals so far, ms and n of the place, ms and n of the first message, the
-- same of the last, how many there are, their bits as in a record, the id of the entry that holds the last; the IDs of the messages, which
-- may be left out where the group remembers nothing.
-- Answers {token, deadline, ms and n of the log's end, size of the largest message}.

local t = redis.call('HMGET', KEYS[1], 'era', 'drops', 'due', 'ms', 'n', 'max', 'gaps')
local g = redis.call('HMGET', KEYS[3], 'token', 'ms', 'n', 'remember')
if t[1] ~= ARGV[4] or (t[2] or '0') ~= ARGV[5] or not g[1] or g[2] ~= ARGV[6] or g[3] ~= ARGV[7] then return 0 end
local width = tonumber(g[4])
if width < tonumber(ARGV[3]) or width > 0 and not ARGV[15] or g[3] - (t[7] or 0) < 0 then return 0 end
local time = redis.call('TIME')
local now = math.floor((time[1] * 1000000 + time[2]) / 1000)
if t[3] and t[3] ~= '' and tonumber(t[3]) <= now then return 0 end
for key = 5, 6 do
  local score = redis.call('ZRANGE', KEYS[key], 0, 0, 'WITHSCORES')[2]
  if score and tonumber(score) <= now then return 0 end
end

-- A master that took over may have lost what was read from the one before.
if not redis.call('XRANGE', KEYS[2], ARGV[14], ARGV[14])[1] then return 0 end
if width > 0 then
  for set = 8, 10 do
    if redis.call('EXISTS', KEYS[set]) == 1 and math.max(unpack(redis.call('SMISMEMBER', KEYS[set], unpack(ARGV, 15)))) == 1 then return 0 end
  end
end
redis.call('HLEN', KEYS[11])

-- What is taken off makes room: the first write is one that a full memory does not stop.
redis.call('HDEL', KEYS[3], '')
local token, deadline = string.format('%.0f', g[1] + 1), string.format('%.0f', now + ARGV[2])
redis.call('HSET', KEYS[3], 'token', token, 'ms', ARGV[10], 'n', ARGV[11])
redis.call('HSET', KEYS[11], token, table.concat({ARGV[1], ARGV[12], ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[13]}, ' '))
redis.call('ZADD', KEYS[5], deadline, 'f' .. token)
redis.call('HINCRBY', KEYS[3], 'c:' .. ARGV[1], ARGV[12])
return {token, deadline, t[4], t[5], t[6]}
