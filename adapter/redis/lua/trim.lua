-- Removes the oldest entries that are over a limit and that no group needs. KEYS: 1 topics, 2 the topic, then its groups from 8 on,
-- 9 keys each. ARGV: the groups' names. Answers {1 when there may be more, 1 when a group keeps what is over a limit, that group when
-- nobody has a message of it on loan, or ''}; 'changed' when the groups are others.

local t = topic(2)
if not t.era then return {0, 0, ''} end
if not complete(1) then finish() return 'changed' end
local low, by = t.n + 1, nil
for i = 1, #ARGV do
  local n = floor(9 * i - 1)
  if n < low then low, by = n, i end
end

local removed, size, last, more, held = 0, 0, nil, 1, false
while removed < 2000 and size < 67108864 and more == 1 do
  local some = redis.call('XRANGE', t.log, last and '(' .. last or '-', '+', 'COUNT', portion(t, 20))
  if #some == 0 then more = 0 end
  for _, e in ipairs(some) do
    for _, m in ipairs(messages(t, e, 0)) do
      local over = t.age >= 0 and tonumber(m.ms) < now - t.age or t.count >= 0 and t.len > t.count or t.size >= 0 and t.bytes > t.size
      if not over or m.n >= low then
        more, held = 0, over
        break
      end
      removed, size = removed + 1, size + #m[2]
      t.len, t.bytes, t.trim, t.dirty = t.len - 1, t.bytes - sizeOf(m[2]), m.n, true
    end
    if more == 0 then break end
    last = e[1]
  end
end
t.gaps = math.max(t.gaps, t.trim)
if t.dirty then allow(KEYS[2]) end
if last then
  local ms, n = parts(last)
  redis.call('XTRIM', t.log, 'MINID', ms .. '-' .. text(n + 1))
  if t.drops > 0 then
    for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
      local gone = tonumber(string.match(field, '^x:(%d+)$'))
      if gone and gone <= tonumber(n) then redis.call('HDEL', KEYS[2], field) end
    end
  end
end

local function served(at)
  for _, field in ipairs(redis.call('HKEYS', KEYS[at])) do
    if string.sub(field, 1, 2) == 'c:' then return true end
  end
  return false
end

local keeps = held and by and not served(10 * by - 2) and ARGV[by] or ''
if keeps ~= (redis.call('HGET', KEYS[2], 'held') or '') then
  allow(KEYS[2])
  redis.call('HSET', KEYS[2], 'held', keeps, 'since', text(now))
end
finish()
return {more, held and 1 or 0, keeps}
