-- Tells what a topic holds. KEYS: 1 topics, 2 the topic, then its groups from 8 on, 9 keys each. ARGV: the groups' names.
-- Answers 'none', or {age, count, size, window, era, first id, last id, length, delayed, then for each group
-- {lag, loaned, delayed, ms of the oldest or '', consumers ...}, or 0 where it is gone}.

local t = topic(2)
if not t.era then return 'none' end

local function idAt(command, from, to)
  local e = redis.call(command, t.log, from, to, 'COUNT', 1)[1]
  local some = e and messages(t, e, 0) or {}
  local m = some[command == 'XRANGE' and 1 or #some]
  return m and m[1] or ''
end

-- Messages behind a cursor: by ordinals, and one by one, up to 10,000, where entries were removed from the middle.
local function behind(ms, n)
  local all = math.min(t.len, t.n - math.max(tonumber(n), t.trim))
  if t.drops == 0 or all == 0 then return all end
  local count, from, portions = 0, '(' .. ms .. '-' .. n, 0
  local want = portion(t, 100)
  while count < 10000 and portions < 100 do
    local some = redis.call('XRANGE', t.log, from, '+', 'COUNT', want)
    for _, e in ipairs(some) do count = count + #messages(t, e, tonumber(n)) end
    portions = portions + 1
    if #some < want then return count end
    from = '(' .. some[#some][1]
  end
  return all
end

-- The ms of the first message that is on loan in a record.
local function since(r)
  local low, from, want = lowest(r), r.ms .. '-' .. text(r.n), portion(t, 20)
  while low > r.n do
    local some = redis.call('XRANGE', t.log, from, '+', 'COUNT', want)
    for _, e in ipairs(some) do
      local ms, n = parts(e[1])
      if tonumber(n) >= low then return tonumber(ms) end
      from = '(' .. e[1]
    end
    if #some < want then break end
  end
  return tonumber(r.ms)
end

-- How much is on loan in records, and how much of it over its time.
local function inRecords(at)
  local loaned, ended = 0, 0
  for _, token in ipairs(redis.call('HKEYS', KEYS[at + 8])) do
    local r, deadline = record(at, token), tonumber(redis.call('ZSCORE', KEYS[at + 2], 'f' .. token))
    if deadline and deadline > now then loaned = loaned + r.open - 1 elseif deadline then ended = ended + r.open - 1 end
  end
  return loaned, ended
end

local function oldest(at, ms, n)
  local r = oldestRecord(at)
  local low = r and since(r)
  local open = redis.call('HLEN', KEYS[at + 1])
  local values = {}
  if open > 1000 then
    values = {redis.call('HGET', KEYS[at + 1], text(floor(at)))}
  elseif open > 0 then
    values = redis.call('HVALS', KEYS[at + 1])
  end
  for _, value in ipairs(values) do
    local first = value and tonumber(state(value).first)
    if first and (not low or first < low) then low = first end
  end
  local next = entries(t, ms .. '-' .. n, 1, 1)[1]
  if next then
    local first = tonumber(next.ms)
    if not low or first < low then low = first end
  end
  return low and text(low) or ''
end

local function group(at)
  local h = redis.call('HMGET', KEYS[at], 'ms', 'n')
  if not h[1] then return 0 end
  local loaned, over = inRecords(at) -- beyond one for each record, which is one name among the loans
  local ended = over + redis.call('ZCOUNT', KEYS[at + 2], '-inf', text(now)) + redis.call('ZCOUNT', KEYS[at + 3], '-inf', text(now))
  local out = {
    behind(h[1], h[2]) + ended,
    loaned + redis.call('ZCOUNT', KEYS[at + 2], '(' .. text(now), '+inf'),
    redis.call('ZCOUNT', KEYS[at + 3], '(' .. text(now), '+inf'),
    oldest(at, h[1], h[2]),
  }
  for _, field in ipairs(redis.call('HKEYS', KEYS[at])) do
    if string.sub(field, 1, 2) == 'c:' then out[#out + 1] = string.sub(field, 3) end
  end
  return out
end

local out = {
  text(t.age), text(t.count), text(t.size), text(t.window), t.era, idAt('XRANGE', '-', '+'), idAt('XREVRANGE', '+', '-'),
  t.len, redis.call('ZCARD', KEYS[4]),
}
for i = 1, #ARGV do out[#out + 1] = group(9 * i - 1) end
finish()
return out
