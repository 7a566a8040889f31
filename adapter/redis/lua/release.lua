-- Gives back many. ARGV: channel of hints; then name, nonce and token ('0': any) of each. Answers 1 or 0 for each.

local out = {}
for i = 2, #ARGV, 3 do
  local held = term(ARGV[i])
  local ok = held and held[1] == ARGV[i + 1] and (ARGV[i + 2] == '0' or held[2] == ARGV[i + 2])
  if ok then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.pcall('PUBLISH', ARGV[1], ARGV[i])
  end
  out[#out + 1] = ok and 1 or 0
end
return out
