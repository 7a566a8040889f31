-- Whether the groups whose keys were given, 9 keys each from 8 on and by name from ARGV[from] on, are all the topic has.
local function complete(from)
  local count = 0
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    if string.sub(field, 1, 2) == 'g:' then count = count + 1 end
  end
  if count ~= #ARGV - from + 1 then return false end
  for i = from, #ARGV do
    if redis.call('HEXISTS', KEYS[2], 'g:' .. ARGV[i]) == 0 then return false end
  end
  return true
end
