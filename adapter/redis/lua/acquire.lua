-- Grants or renews. KEYS: 1 the family's leases, and 2 what notes the master where ARGV has a quarantine. ARGV: name, body of the record,
-- time to live, channel of hints; then, where there is one, the largest token that the caller has seen; then, if nothing is granted for so
-- long after the master changed, that time. Answers the token; or {ms left, record} when another holds it; -1 when there is no larger token; {ms left}
-- when the master changed. What a master replicates has an id, which every server that takes over changes: KEYS[2] notes it, and
-- since when. Where there is no note, it may be lost with all that was granted: that is a change too.
--
-- The leases of a family are one hash. A name's field is its record while it is held: the end in milliseconds and the token, in 16 digits
-- each, and the body: the length of the nonce in one byte, the nonce, the length of the owner in two, the owner, the data. A
-- lease is over at its end, by the server's clock, whether its field is still there or not. The field '!' is the largest token that
-- the clock gave to any name. A token that is ahead of it, because a caller had seen a larger one, is kept in '!' and the name, until the
-- clock has overtaken it. So a new token is above all that the name ever had, and a name that is free takes no room.

local call, key, name, body = redis.call, KEYS[1], ARGV[1], ARGV[2]
local time = call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = (micros - micros % 1000) / 1000
local was = call('HMGET', key, name, '!', '!' .. name)
local record = was[1]

if record and tonumber(string.sub(record, 1, 16)) > now then
  local n = string.byte(body) + 1
  if string.sub(record, 33, 32 + n) ~= string.sub(body, 1, n) then return {string.sub(record, 1, 16) - now, record} end
  call('HDEL', key, '') -- a write that frees and does nothing: the next one is let through when the memory is full
  call('HSET', key, name, string.format('%016d', now + ARGV[3]) .. string.sub(record, 17, 32) .. body)
  if string.sub(record, 33) ~= body then redis.pcall('PUBLISH', ARGV[4], name) end
  return tonumber(string.sub(record, 17, 32))
end

if ARGV[6] then
  local id = string.match(call('INFO', 'replication'), 'master_replid:(%w+)')
  local seen = call('HMGET', KEYS[2], 'id', 'since')
  local since = tonumber(seen[2]) or now
  if seen[1] ~= id then
    since = now
    call('HSET', KEYS[2], 'id', id, 'since', string.format('%d', now))
  end
  if since + ARGV[6] > now then return {since + ARGV[6] - now} end
end

local token, mark = (was[2] or 0) + 1, '!'
if token < micros then token = micros end
if was[3] or ARGV[5] then
  local ahead = math.max(was[3] or 0, ARGV[5] or 0) + 1
  if ahead > token then token, mark = ahead, '!' .. name end
end
if token >= 9007199254740992 then return -1 end
local head = string.format('%016d%016d', now + ARGV[3], token)
call('HSET', key, name, head .. body, mark, string.sub(head, 17))
if was[3] and mark == '!' then call('HDEL', key, '!' .. name) end
redis.pcall('PUBLISH', ARGV[4], name)

-- Now and then a part of what nobody gave back is taken out.
if micros % 16 == 0 and call('HLEN', key) > 128 then
  local gone, some = {}, call('HRANDFIELD', key, -32, 'WITHVALUES')
  for i = 1, #some, 2 do
    local field, value = some[i], some[i + 1]
    local over
    if string.byte(field) ~= 33 then
      over = tonumber(string.sub(value, 1, 16)) <= now
    else
      over = field ~= '!' and field ~= mark and tonumber(value) <= tonumber(was[2] or 0)
    end
    if over then gone[#gone + 1] = field end
  end
  if #gone > 0 then call('HDEL', key, unpack(gone)) end
end
return token
