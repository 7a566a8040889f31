-- Moves deadlines. KEYS: 1 the group's keys. ARGV: consumer, loan, k; k names, k tokens, k times the ms of the entry, k times 1 where the
-- handling begins. Answers 'lost', or 1 or 0 for each. A loan lasts also when the server's memory is full.
--
-- A record is extended when all that is on loan in it is. Else those that are get states of their own, and so does what begins.

if redis.call('HEXISTS', KEYS[1], 'token') == 0 then return 'lost' end
local consumer, deadline, k = ARGV[1], text(now + ARGV[2]), tonumber(ARGV[3])
local out, loans, states, seen, asked, names, places = {}, {}, {}, {}, {}, {}, {}
for i = 1, k do
  local name, r = ARGV[3 + i], record(1, ARGV[3 + k + i])
  out[i] = 0
  if r and r.consumer == consumer and lies(r, name) then
    out[i] = 1
    local list = asked[r] or {}
    asked[r] = list
    if not seen[name] then list[#list + 1] = i end
    seen[name] = true
    list.begins = list.begins or ARGV[3 + 3 * k + i] == '1'
  else
    names[#names + 1], places[#places + 1] = name, i
  end
end
if #names > 0 then
  for j, value in ipairs(redis.call('HMGET', KEYS[2], unpack(names))) do
    local i = places[j]
    local want = ARGV[3 + k + i] .. ' ' .. consumer .. ' '
    if value and string.sub(value, 1, #want) == want then
      out[i] = 1
      loans[#loans + 1], loans[#loans + 2] = deadline, names[j]
      if ARGV[3 + 3 * k + i] == '1' then
        local s = state(value)
        s.begun = '1'
        states[#states + 1], states[#states + 2] = names[j], written(s)
      end
    end
  end
else
  redis.call('HLEN', KEYS[2])
end
redis.call('ZCARD', KEYS[3])
allow(KEYS[1])
for r, list in pairs(asked) do
  if #list == r.open and not list.begins then
    loans[#loans + 1], loans[#loans + 2] = deadline, 'f' .. r.token
  else
    for _, i in ipairs(list) do
      local name, ms = ARGV[3 + i], ARGV[3 + 2 * k + i]
      take(r, tonumber(name))
      loans[#loans + 1], loans[#loans + 2] = deadline, name
      local s = {token = r.token, consumer = consumer, ms = ms, attempt = '0', lost = '0', crashes = '0', begun = ARGV[3 + 3 * k + i], first = ms, reason = ''}
      states[#states + 1], states[#states + 2] = name, written(s)
    end
    put(r)
  end
end
all('ZADD', KEYS[3], loans)
all('HSET', KEYS[2], states)
return out
