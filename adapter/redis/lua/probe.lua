-- Tries every command that the other scripts use on a key that is gone afterwards. KEYS: 1 the key. ARGV: a channel. Answers the
-- commands that the server's access list forbids. That anything else is wrong with one is of no interest here.

local no = {}
local function try(...)
  local answer = redis.pcall(...)
  local err = type(answer) == 'table' and answer.err or ''
  for _, sign in ipairs({'user executing the script', 'ACL failure', 'NOPERM'}) do -- up to 7.0, from 7.2 on, and as a code
    if string.find(err, sign, 1, true) then
      no[#no + 1] = (...)
      return
    end
  end
end
local key = KEYS[1]
try('DEL', key)
for _, cmd in ipairs({'EXISTS', 'GET', 'HKEYS', 'HLEN', 'HRANDFIELD', 'HVALS', 'PERSIST', 'PTTL', 'SCARD', 'SMEMBERS', 'XLEN', 'ZCARD'}) do try(cmd, key) end
for _, cmd in ipairs({'HDEL', 'HEXISTS', 'HGET', 'HMGET', 'SISMEMBER', 'SMISMEMBER', 'SREM', 'ZREM', 'ZSCORE'}) do try(cmd, key, 'f') end
for _, cmd in ipairs({'XRANGE', 'XREVRANGE'}) do try(cmd, key, '-', '+') end
for _, cmd in ipairs({'ZCOUNT', 'ZRANGE', 'ZRANGEBYSCORE', 'ZREMRANGEBYRANK'}) do try(cmd, key, '0', '0') end
try('XDEL', key, '1-1')
try('XTRIM', key, 'MINID', '1-1')
try('XADD', key, 'NOMKSTREAM', '1-1', 'f', '')
try('ZADD', key, 'XX', '0', 'f')
try('SUNIONSTORE', key, key)
try('HSET', key, 'f', '1')
try('HINCRBY', key, 'f', '1')
for _, cmd in ipairs({'SADD', 'INCRBY'}) do try(cmd, key, '1') end
for _, cmd in ipairs({'PEXPIRE', 'PEXPIREAT'}) do try(cmd, key, '1000') end
try('SET', key, '')
try('PUBLISH', ARGV[1], '')
try('TIME')
try('INFO', 'replication')
try('UNLINK', key)
return no
