-- Publishes. KEYS: 1 a key of the node that does it for all. ARGV: channel, payload.

return redis.call('PUBLISH', ARGV[1], ARGV[2])
