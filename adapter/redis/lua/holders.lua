-- Lists who holds. ARGV: what the names begin with. Answers {name, owner, token, data, ms left} of each.

local out, prefix = {}, ARGV[1]
local list = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. text(now), '+inf', 'WITHSCORES')
for i = 1, #list, 2 do
  local record = string.sub(list[i], 1, #prefix) == prefix and redis.call('HGET', KEYS[1], list[i])
  if record then
    local r = cmsgpack.unpack(record)
    out[#out + 1] = {list[i], r[3], r[2], r[4], list[i + 1] - now}
  end
end
return out
