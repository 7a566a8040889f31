-- Gives back many. ARGV: channel of hints; then name, nonce and token ('0': any) of each. Answers 1 or 0 for each. It is the whole script, as
-- acquire.lua is.

local time = redis.call('TIME')
local now = math.floor((time[1] * 1000000 + time[2]) / 1000)
local out = {}
for i = 2, #ARGV, 3 do
  local name, ok = ARGV[i], 0
  local ends = tonumber(redis.call('ZSCORE', KEYS[2], name))
  local record = ends and ends > now and redis.call('HGET', KEYS[1], name)
  if record then
    local held = cmsgpack.unpack(record)
    if held[1] == ARGV[i + 1] and (ARGV[i + 2] == '0' or held[2] == ARGV[i + 2]) then
      redis.call('HDEL', KEYS[1], name)
      redis.call('ZREM', KEYS[2], name)
      redis.pcall('PUBLISH', ARGV[1], name)
      ok = 1
    end
  end
  out[#out + 1] = ok
end
return out
