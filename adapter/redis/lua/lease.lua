-- Leases of a family. KEYS: 1 records by name, 2 ends by name, 3 last tokens by name, which are never deleted. A record is
-- {nonce, token, owner, data}. A lease is over at its end, by the server's clock, whether its record is still there or not.

local function term(name)
  local ends = tonumber(redis.call('ZSCORE', KEYS[2], name))
  local record = ends and ends > now and redis.call('HGET', KEYS[1], name)
  if record then return cmsgpack.unpack(record), ends end
end
