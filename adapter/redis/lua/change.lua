-- Changes one key under a condition or a fence. KEYS: 1 the key, 2 fences. ARGV: delete (1 or 0), value, condition (0 always, 1 absent,
-- 2 equals), old, time to live (0 none, -1 as it was), fence, token.
-- Answers {1, whether it was there}, {0, whether, value} when the condition does not hold, {-1, token that was seen}.

local key, fence = KEYS[1], ARGV[6]
if fence ~= '' then
  local seen = redis.call('HGET', KEYS[2], fence) or '0'
  if tonumber(ARGV[7]) < tonumber(seen) then return {-1, seen} end
end
local there = redis.call('EXISTS', key)
if ARGV[3] ~= '0' then
  local value = redis.call('GET', key)
  if ARGV[3] == '1' and there == 1 or ARGV[3] == '2' and value ~= ARGV[4] then return {0, there, value or ''} end
end
if fence ~= '' then redis.call('HSET', KEYS[2], fence, ARGV[7]) end
if ARGV[1] == '1' then
  redis.call('DEL', key)
elseif ARGV[5] == '0' then
  redis.call('SET', key, ARGV[2])
elseif ARGV[5] == '-1' then
  redis.call('SET', key, ARGV[2], 'KEEPTTL')
else
  redis.call('SET', key, ARGV[2], 'PX', ARGV[5])
end
return {1, there}
