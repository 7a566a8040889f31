-- The most frequent steps: nothing but new messages to one topic that is there. It writes what write.lua would, with less to do around
-- it, or answers 0. single.lua stands in front. KEYS: as for write.lua with one topic, 6-11. ARGV: number of IDs of steps, 1 where the other
-- steps have one message each, whose ID is theirs; the IDs; one message alone, or what plain.lua reads. Answers 1, or 2 where the topic does
-- not remember the IDs of messages for as long as those of steps: there a step must have its own.

local steps = ARGV[1] + 0
local head = 3 + steps
if #ARGV == head then
  local blob = ARGV[head]
  local _, a, b, c, d = string.byte(blob, 1, 5)
  local body = 5 + a * 256 + b
  ARGV[head], ARGV[head + 1], ARGV[head + 2], ARGV[head + 3], ARGV[head + 4], ARGV[head + 5] =
    '1', #blob - body - c * 256 - d, #blob, '1', string.sub(blob, 6, body), blob
end
if steps > 0 and known(3, ARGV, 3, 2 + steps) or not plain(6, head) or ARGV[2] == '1' and window < STEP_WINDOW then return 0 end
write()
if steps > 0 then remember(3, STEP_WINDOW, ARGV, 3, 2 + steps) end
return window < STEP_WINDOW and 2 or 1
