-- The most frequent settlements: acknowledgements of messages that were lent as one, with no more to them than new messages to one topic
-- that is there. It writes what settle.lua would, with less to do around it, or answers 0. KEYS: 1-9 the group's, then those of the
-- topic that the messages are for. ARGV: consumer, how long the group remembers, number of loans; the token and the messages of each, as
-- numbers and ranges (3-7,9); number of IDs, the IDs of what is settled, which may be left out where the group remembers nothing; of the
-- messages what plain.lua reads.

local out = 'c:' .. ARGV[1]
local g = redis.call('HMGET', KEYS[1], 'remember', out)
local width, loans = tonumber(g[1] or -1), tonumber(ARGV[3])
local from = 5 + 2 * loans
local to = from + ARGV[from - 1] - 1
if width < tonumber(ARGV[2]) or width > 0 and to < from then return 0 end

-- The records as they will be: of nothing that is on loan there is none.
local gone, left, count = {}, {}, 0
for a = 4, from - 3, 2 do
  local record = redis.call('HGET', KEYS[9], ARGV[a])
  if not record then return 0 end
  local consumer, open, place, first, behind, final, bits = string.match(record, '^(%S+) (%d+) (%d+ (%d+)) (%d+ (%d+)) (.*)$')
  if consumer ~= ARGV[1] then return 0 end
  local bytes, taken = nil, 0
  if open - 1 == final - first and ARGV[a + 1] == (open == '1' and first or first .. '-' .. final) then
    taken = open + 0 -- all that there are, and all are there
  else
    bytes = {string.byte(bits, 1, -1)}
    for one, last in string.gmatch(ARGV[a + 1], '(%d+)%-?(%d*)') do
      for n = tonumber(one), tonumber(last) or tonumber(one) do
        local i = n - first
        local at, bit = math.floor(i / 8) + 1, 2 ^ (i % 8)
        if not bytes[at] or math.floor(bytes[at] / bit) % 2 == 0 then return 0 end
        bytes[at], taken = bytes[at] - bit, taken + 1
      end
    end
  end
  count, open = count + taken, open - taken
  if open == 0 then
    gone[#gone + 1] = ARGV[a]
  else
    left[#left + 1], left[#left + 2] = ARGV[a], table.concat({consumer, open, place, behind, string.char(unpack(bytes))}, ' ')
  end
end
if width > 0 and known(6, ARGV, from, to) then return 0 end
local puts = #ARGV > to
if puts and not plain(10, to + 1) then return 0 end
if puts and #gone > 0 then redis.call('ZCARD', KEYS[3]) end

-- Of what is left to do, the first does not need memory, and fails at a key of another type with nothing done.
if puts then write() end
if #gone > 0 then
  local names = {}
  for i, token in ipairs(gone) do names[i] = 'f' .. token end
  redis.call('ZREM', KEYS[3], unpack(names))
end
redis.call('HDEL', KEYS[9], '', unpack(gone))
if #left > 0 then redis.call('HSET', KEYS[9], unpack(left)) end
if width > 0 then remember(6, width, ARGV, from, to) end
local rest = (g[2] or 0) - count
if rest > 0 then redis.call('HSET', KEYS[1], out, rest) else redis.call('HDEL', KEYS[1], out) end
return 1
