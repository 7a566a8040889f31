-- Adds to a number. KEYS: 1 the key. ARGV: what to add, time to live of a new key. INCRBY refuses what is no number and what would
-- leave 64 bits; its answer has more digits than Lua's numbers, so the sum is read as text.

local there = redis.call('EXISTS', KEYS[1])
redis.call('INCRBY', KEYS[1], ARGV[1])
if there == 0 and ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
