-- Gives back many, also when the server's memory is full. KEYS: 1 the family's leases, as acquire.lua has them. ARGV: channel of hints; then
-- name, length and nonce, and token ('0': any) of each. Answers 1 or 0; for more than one, a list of them.

local call, key, out = redis.call, KEYS[1], {}
local time = call('TIME')
local micros = time[1] * 1000000 + time[2]
for i = 2, #ARGV, 3 do
  local name, nonce, token = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record, ok = call('HGET', key, name), 0
  if record and string.sub(record, 33, 32 + #nonce) == nonce
      and (token == '0' or string.sub(record, 17, 32) == token)
      and string.sub(record, 1, 16) * 1000 > micros then
    ok = call('HDEL', key, name)
    redis.pcall('PUBLISH', ARGV[1], name)
  end
  if #ARGV == 4 then return ok end
  out[#out + 1] = ok
end
return out
