-- Renews many, also when the server's memory is full. KEYS: 1 the family's leases, as acquire.lua has them. ARGV: time to live; then name,
-- length and nonce, and token of each. Answers for each the body of its record, or 0.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends, key = string.format('%016d', now + ARGV[1]), KEYS[1]
local names, out, set = {}, {}, {}
for i = 2, #ARGV, 3 do names[#names + 1] = ARGV[i] end
for i, record in ipairs(redis.call('HMGET', key, unpack(names))) do
  local nonce, token = ARGV[3 * i], ARGV[3 * i + 1]
  if record and string.sub(record, 33, 32 + #nonce) == nonce and string.sub(record, 17, 32) == token
      and tonumber(string.sub(record, 1, 16)) > now then
    set[#set + 1] = names[i]
    set[#set + 1] = ends .. string.sub(record, 17)
    out[i] = string.sub(record, 33)
  else
    out[i] = 0
  end
end
if #set > 0 then
  redis.call('HDEL', key, '') -- a write that frees and does nothing: the next one is let through when the memory is full
  redis.call('HSET', key, unpack(set))
end
return out
