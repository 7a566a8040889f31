-- Grants or renews, each alone. KEYS: 1 the family's leases, and 2 what notes the master where ARGV has a quarantine. ARGV: channel of hints;
-- for how long nothing is granted after the master changed, '' where that is of no interest; then for each its name, body of the record, time to
-- live, and the largest token that the caller has seen, '0' for none. Answers for each, and for more than one a list of them: the token; or
-- {ms left, record} when another holds it; -1 when there is no larger token; {ms left} when the master changed. What a master
-- replicates has an id, which every server that takes over changes: KEYS[2] notes it, and since when. Where there is no note, it may be lost with all that was granted: that is a change too.
--
-- The leases of a family are one hash. A name's field is its record while it is held: the end in milliseconds and the token, in 16 digits
-- each, and the body: the length of the nonce in one byte, the nonce, the length of the owner in two, the owner, the data. A
-- lease is over at its end, by the server's clock, whether its field is still there or not. The field '!' is the largest token that
-- the clock gave to any name. A token that is ahead of it, because a caller had seen a larger one, is kept in '!' and the name, until the
-- clock has overtaken it. So a new token is above all that the name ever had, and a name that is free takes no room.

local call, key, channel, out, granted = redis.call, KEYS[1], ARGV[1], {}, false
local time = call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = (micros - micros % 1000) / 1000
local wait
if ARGV[2] ~= '' then
  local id = string.match(call('INFO', 'replication'), 'master_replid:(%w+)')
  local noted = call('HMGET', KEYS[2], 'id', 'since')
  local since = tonumber(noted[2]) or now
  if noted[1] ~= id then
    since = now
    wait = {id, string.format('%d', now)}
  end
  if since + ARGV[2] > now then wait = wait or {} wait.left = since + ARGV[2] - now end
end

for i = 3, #ARGV, 4 do
  local name, body, seen, answer = ARGV[i], ARGV[i + 1], ARGV[i + 3] + 0, nil
  local was = call('HMGET', key, name, '!', '!' .. name)
  local record, last, ahead = was[1], was[2] or 0, was[3]
  if record and tonumber(string.sub(record, 1, 16)) > now then
    local n = string.byte(body) + 1
    if string.sub(record, 33, 32 + n) == string.sub(body, 1, n) then
      call('HDEL', key, '') -- a write that frees and does nothing: the next one is let through when the memory is full
      call('HSET', key, name, string.format('%016d', now + ARGV[i + 2]) .. string.sub(record, 17, 32) .. body)
      if string.sub(record, 33) ~= body then redis.pcall('PUBLISH', channel, name) end
      answer = tonumber(string.sub(record, 17, 32))
    else
      answer = {string.sub(record, 1, 16) - now, record}
    end
  elseif wait then
    if wait[1] then call('HSET', KEYS[2], 'id', wait[1], 'since', wait[2]) end
    wait = {left = wait.left}
    answer = {wait.left}
  else
    local token, mark = math.max(last + 1, micros), '!'
    if ahead or seen > 0 then
      local above = math.max(ahead or 0, seen) + 1
      if above > token then token, mark = above, '!' .. name end
    end
    if token >= 9007199254740992 then
      answer = -1
    else
      local head = string.format('%016d%016d', now + ARGV[i + 2], token)
      call('HSET', key, name, head .. body, mark, string.sub(head, 17))
      if ahead and mark == '!' then call('HDEL', key, '!' .. name) end
      redis.pcall('PUBLISH', channel, name)
      answer, granted = token, true
    end
  end
  out[#out + 1] = answer
end

-- Now and then a part of what nobody gave back is taken out.
if granted and micros % 16 == 0 and call('HLEN', key) > 128 then
  local gone, some, largest = {}, call('HRANDFIELD', key, -32, 'WITHVALUES'), tonumber(call('HGET', key, '!') or 0)
  for i = 1, #some, 2 do
    local field, value = some[i], some[i + 1]
    local over
    if string.byte(field) ~= 33 then
      over = tonumber(string.sub(value, 1, 16)) <= now
    else
      over = field ~= '!' and tonumber(value) <= largest
    end
    if over then gone[#gone + 1] = field end
  end
  if #gone > 0 then call('HDEL', key, unpack(gone)) end
end
if #ARGV == 6 then return out[1] end
return out
