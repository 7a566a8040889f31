-- Lists who holds. KEYS: 1 the family's leases, as acquire.lua has them. ARGV: what the names begin with. Answers name, ms left and record
-- of each.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local names, out, prefix = {}, {}, ARGV[1]
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.byte(field) ~= 33 and string.sub(field, 1, #prefix) == prefix then names[#names + 1] = field end
end
for from = 1, #names, 1000 do
  for i, record in ipairs(redis.call('HMGET', KEYS[1], unpack(names, from, math.min(from + 999, #names)))) do
    local left = tonumber(string.sub(record, 1, 16)) - now
    if left > 0 then
      out[#out + 1] = names[from + i - 1]
      out[#out + 1] = left
      out[#out + 1] = record
    end
  end
end
return out
