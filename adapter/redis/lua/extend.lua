-- Moves deadlines. KEYS: 1 the group's hash, 2 its states, 3 its loans. ARGV: consumer, loan, k; k names, k tokens, k times 1 where
-- the handling begins. Answers 'lost', or 1 or 0 for each. A loan lasts also when the server's memory is full.

if redis.call('HEXISTS', KEYS[1], 'token') == 0 then return 'lost' end
local consumer, deadline, k = ARGV[1], text(now + ARGV[2]), tonumber(ARGV[3])
local states = redis.call('HMGET', KEYS[2], unpack(ARGV, 4, 3 + k))
local out, loans, begun = {}, {}, {}
for i = 1, k do
  local name, want = ARGV[3 + i], ARGV[3 + k + i] .. ' ' .. consumer .. ' '
  out[i] = 0
  if states[i] and string.sub(states[i], 1, #want) == want then
    out[i] = 1
    loans[#loans + 1], loans[#loans + 2] = deadline, name
    if ARGV[3 + 2 * k + i] == '1' then
      local s = state(states[i])
      s.begun = '1'
      begun[#begun + 1], begun[#begun + 2] = name, written(s)
    end
  end
end
allow(KEYS[1])
all('ZADD', KEYS[3], loans)
all('HSET', KEYS[2], begun)
return out
