-- A step: all of it or nothing. parse reads it from ARGV, prepare looks at all that it touches, check answers what refuses it and
-- writes nothing, apply does not fail. Where one script makes many steps it prepares all of them before it applies the first: a key
-- of a wrong type ends a script where it is met, and what was written before stays written. KEYS[2] holds the fencing tokens that
-- the family has seen. An answer that refuses is {why, place, ...}.

local a
local tokens, groups = {}, {}

local function arg() a = a + 1 return ARGV[a] end
local function num() a = a + 1 return tonumber(ARGV[a]) end

-- A message is in two arguments: its place, and itself. Most places are met again and again.
local places = {}

local function place(text)
  local p = places[text]
  if not p then
    local at, group, due = string.match(text, '^(%d+) ?(%d*) ?(%d*)$')
    p = {tonumber(at), tonumber(group) or 0, tonumber(due) or 0}
    places[text] = p
  end
  return p
end

local none = {}

-- A step of nothing but messages begins with their number, every other with x.
local function parse()
  local shape = arg()
  local s = {fence = '', token = 0, removes = none, changes = none, messages = {}}
  if shape == 'x' then
    s.fence, s.token, s.removes, s.changes = arg(), num(), {}, {}
    for i = 1, num() do s.removes[i] = {at = num(), era = arg(), id = arg()} end
    for i = 1, num() do
      s.changes[i] = {key = KEYS[num()], delete = arg() == '1', value = arg(), cond = arg(), old = arg(), ttl = arg(), fence = arg(), token = num()}
    end
    shape = arg()
  end
  for i = 1, tonumber(shape) do
    local p = place(ARGV[a + 1])
    s.messages[i] = {at = p[1], group = p[2], due = p[3], blob = ARGV[a + 2]}
    a = a + 2
  end
  return s
end

local function seen(name)
  if name ~= '' and not tokens[name] then tokens[name] = tonumber(redis.call('HGET', KEYS[2], name)) or 0 end
end

local function prepareGroup(at)
  if groups[at] ~= nil then return end
  groups[at] = redis.call('HEXISTS', KEYS[at], 'token') == 1
  redis.call('HLEN', KEYS[at + 1])
  redis.call('ZCARD', KEYS[at + 3])
  redis.call('HLEN', KEYS[at + 4])
end

-- Messages whose ID is known to the topic are marked, those of all steps at once.
local function prepareMessages(s, asked)
  for _, m in ipairs(s.messages) do
    local t = topics[m.at]
    if not t or not t.ready then
      demand(KEYS[m.at + 2])
      t = topic(m.at)
      if not t.era then redis.call('SCARD', KEYS[1]) end
      t.ready = true
    end
    if m.group > 0 then
      prepareGroup(m.group)
    else
      m.id = idOf(m.blob)
      if t.window > 0 then
        local list = asked[t]
        if not list then
          list = {ids = {}, messages = {}}
          asked[t] = list
        end
        local n = #list.ids + 1
        list.ids[n], list.messages[n] = m.id, m
      end
    end
  end
end

local function prepare(steps)
  local asked = {}
  for _, s in ipairs(steps) do
    seen(s.fence)
    for _, c in ipairs(s.changes) do seen(c.fence) end
    prepareMessages(s, asked)
    for _, r in ipairs(s.removes) do topic(r.at) end
  end
  for t, list in pairs(asked) do
    for i in pairs(knownOf(t.at + 3, list.ids, 1, #list.ids)) do list.messages[i].old = t.era end
  end
end

local function fenced(s, name, token)
  if name == '' then return end
  local last = s.seen[name] or tokens[name]
  if token < last then return {'fence', name, text(token), text(last)} end
  s.seen[name] = token
end

-- Answers false for a condition that does not hold, and nil for a value of another type, which others may have put there.
local function holds(c)
  if c.cond == '1' then return redis.call('EXISTS', c.key) == 0 end
  if c.cond == '2' then
    local value = redis.pcall('GET', c.key)
    if type(value) == 'table' then return nil end
    return value == c.old
  end
  return true
end

local function checkRemoves(s)
  local gone = {}
  for i, r in ipairs(s.removes) do
    local t = topic(r.at)
    local blob
    if t.era == r.era and not gone[t.log .. ' ' .. r.id] then blob, r.entry = find(t, r.id) end
    if not blob then return {'entry', i} end
    gone[t.log .. ' ' .. r.id], r.size = true, sizeOf(blob)
  end
end

-- Takes a message out of its entry: with the entry, unless there are others in it.
local function remove(t, id, e)
  local form, hi, lo = string.byte(e[2][2], 1, 3)
  if form == 2 then
    local _, n = parts(id)
    local _, last = parts(e[1])
    t.gaps = math.max(t.gaps, tonumber(n))
    allow(KEYS[t.at])
    redis.call('HSET', KEYS[t.at], 'x:' .. n, '1')
    if messages(t, e, 0)[1] then return end
    for k = last - hi * 256 - lo + 1, tonumber(last) do redis.call('HDEL', KEYS[t.at], 'x:' .. k) end
  end
  redis.call('XDEL', t.log, e[1])
end

-- Messages that are known do not need room.
local function checkMessages(s)
  local mine, count, bytes = {}, {}, {}
  for i, m in ipairs(s.messages) do
    local t = topics[m.at]
    if m.group > 0 then
      if not groups[m.group] then return {'group', i} end
    else
      if t.window > 0 then
        m.known = m.old or t.ids[m.id] or mine[m.id] and mine[m.id][t]
        if s.messages[2] then
          mine[m.id] = mine[m.id] or {}
          mine[m.id][t] = true
        end
      end
      if (t.count >= 0 or t.size >= 0) and not m.known and m.due <= now then
        count[t] = (count[t] or 0) + 1
        bytes[t] = (bytes[t] or 0) + sizeOf(m.blob)
        if t.count >= 0 and t.len + count[t] > t.count + math.floor(t.count / 10)
            or t.size >= 0 and t.bytes + bytes[t] > t.size + math.floor(t.size / 10) then
          return {'full', i}
        end
      end
    end
  end
end

local function check(s)
  s.seen = (s.fence ~= '' or s.changes[1]) and {} or none
  local bad = fenced(s, s.fence, s.token)
  if bad then return bad end
  for i, c in ipairs(s.changes) do
    bad = fenced(s, c.fence, c.token)
    if bad then return bad end
    local ok = holds(c)
    if not ok then return {ok == nil and 'type' or 'condition', i} end
  end
  return checkRemoves(s) or checkMessages(s)
end

local function change(c)
  if c.delete then return redis.call('DEL', c.key) end
  if c.ttl == '0' then return redis.call('SET', c.key, c.value) end
  if c.ttl == '-1' then return redis.call('SET', c.key, c.value, 'KEEPTTL') end
  redis.call('SET', c.key, c.value, 'PX', c.ttl)
end

local function address(m)
  local field = 'p' .. string.format('%016.0f', redis.call('HINCRBY', KEYS[m.group], 'own', 1))
  local due = text(math.max(m.due, now))
  redis.call('HSET', KEYS[m.group + 4], field, m.blob)
  redis.call('HSET', KEYS[m.group + 1], field, '- - ' .. due)
  redis.call('ZADD', KEYS[m.group + 3], due, field)
end

-- Answers 1, or the IDs that were left out behind the word 'known'.
local function apply(s)
  local out
  for name, token in pairs(s.seen) do
    redis.call('HSET', KEYS[2], name, text(token))
    tokens[name] = token
  end
  for _, r in ipairs(s.removes) do
    local t = topic(r.at)
    remove(t, r.id, r.entry)
    t.len, t.bytes, t.drops, t.dirty = t.len - 1, t.bytes - r.size, t.drops + 1, true
  end
  for _, c in ipairs(s.changes) do change(c) end
  for _, m in ipairs(s.messages) do
    local t = topics[m.at]
    if m.known then
      out = out or {'known'}
      out[#out + 1] = m.id
    elseif m.group > 0 then
      address(m)
      t.news = true
    else
      create(t)
      if m.due > now then delay(t, m.due, m.blob) else append(t, m.blob) end
      if t.window > 0 then t.fresh[#t.fresh + 1], t.ids[m.id] = m.id, true end
    end
  end
  return out or 1
end
