-- Reads keys with what they have left to live, at one moment. KEYS: the keys. Answers {value, ms} of each, ms -1 for no end, or 0.

local out = {}
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  out[i] = value and {value, redis.call('PTTL', key)} or 0
end
return out
