-- Removes the oldest entries that are over a limit and that no group needs. KEYS: 1 topics, 2 the topic, then its groups from 8 on,
-- 8 keys each. ARGV: the groups' names. Answers how many it removed, and 1 when there may be more; 'changed' when the groups
-- are others.

local t = topic(2)
if not t.era then return {0, 0} end
if not complete(1) then finish() return 'changed' end
local low = t.n + 1
for i = 1, #ARGV do low = math.min(low, floor(8 * i)) end

local removed, last, more = 0, nil, 1
while removed < 2000 and more == 1 do
  local entries = redis.call('XRANGE', t.log, last and '(' .. last or '-', '+', 'COUNT', 100)
  if #entries == 0 then more = 0 end
  for _, e in ipairs(entries) do
    local ms, n = parts(e[1])
    local over = t.age >= 0 and tonumber(ms) < now - t.age or t.count >= 0 and t.len > t.count or t.size >= 0 and t.bytes > t.size
    if not over or tonumber(n) >= low then more = 0 break end
    last, removed = e[1], removed + 1
    t.len, t.bytes, t.trim = t.len - 1, t.bytes - sizeOf(e[2][2]), tonumber(n)
  end
end
if last then
  local ms, n = parts(last)
  redis.call('XTRIM', t.log, 'MINID', ms .. '-' .. text(n + 1))
  t.dirty = true
end
finish()
return {removed, more}
