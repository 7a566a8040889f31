-- Gives back many, also when the server's memory is full. KEYS: 1 the family's leases, as acquire.lua has them. ARGV: channel of hints; then
-- name, length and nonce, and token ('0': any) of each. Answers 1 or 0; for more than one, a list of them.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, out = KEYS[1], {}
for i = 2, #ARGV, 3 do
  local name, nonce, token = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record, ok = redis.call('HGET', key, name), 0
  if record and string.sub(record, 33, 32 + #nonce) == nonce
      and (token == '0' or string.sub(record, 17, 32) == token)
      and tonumber(string.sub(record, 1, 16)) > now then
    ok = redis.call('HDEL', key, name)
    redis.pcall('PUBLISH', ARGV[1], name)
  end
  if #ARGV == 4 then return ok end
  out[#out + 1] = ok
end
return out
