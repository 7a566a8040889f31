-- Renews many, also when the server's memory is full. ARGV: time to live; then name, nonce and token of each. Answers for each {owner, data}, or 0.

local out, ends = {}, text(now + ARGV[1])
allow(KEYS[1])
for i = 2, #ARGV, 3 do
  local held = term(ARGV[i])
  if held and held[1] == ARGV[i + 1] and held[2] == ARGV[i + 2] then
    redis.call('ZADD', KEYS[2], ends, ARGV[i])
    out[#out + 1] = {held[3], held[4]}
  else
    out[#out + 1] = 0
  end
end
return out
