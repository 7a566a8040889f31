-- Grants or renews. ARGV: name, owner, nonce, largest token that the caller has seen, data, time to live, channel of hints, for how
-- long nothing is granted after the master changed ('0': no such time).
-- Answers {1, token}, {0, token, owner, data, ms left} when another holds it, {-1} when there is no larger token, {-2, ms left} when
-- the master changed. What a master replicates has an id, which every server that takes over changes: KEYS[4] notes it, and since
-- when. Where there is no note, it may be lost with all that was granted: that is a change too.

local name, owner, nonce, data = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local held, ends = term(name)
if held and held[1] ~= nonce then return {0, held[2], held[3], held[4], ends - now} end
local token, changed
if held then
  allow(KEYS[1])
  token, changed = held[2], held[3] ~= owner or held[4] ~= data
else
  if ARGV[8] ~= '0' then
    local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
    local seen = redis.call('HMGET', KEYS[4], 'id', 'since')
    local since = tonumber(seen[2]) or now
    if seen[1] ~= id then
      since = now
      redis.call('HSET', KEYS[4], 'id', id, 'since', text(now))
    end
    if since + ARGV[8] > now then return {-2, since + ARGV[8] - now} end
  end
  local last = tonumber(redis.call('HGET', KEYS[3], name)) or 0
  local most = math.max(last + 1, ARGV[4] + 1, micros)
  if most >= 9007199254740992 then return {-1} end
  token, changed = text(most), true
  redis.call('HSET', KEYS[3], name, token)
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(now), 'LIMIT', 0, 10)) do
    redis.call('HDEL', KEYS[1], other)
    redis.call('ZREM', KEYS[2], other)
  end
end
redis.call('HSET', KEYS[1], name, cmsgpack.pack({nonce, token, owner, data}))
redis.call('ZADD', KEYS[2], text(now + ARGV[6]), name)
if changed then redis.pcall('PUBLISH', ARGV[7], name) end
return {1, token}
