-- The most frequent steps: nothing but new messages to one topic that is there. It writes what write.lua would, with less to do around
-- it, or answers 0. single.lua stands in front. KEYS: as for write.lua with one topic, 6-11. ARGV: number of IDs of steps, the IDs, the messages.

local steps = ARGV[1] + 0
if steps > 0 and (twice(ARGV, 2, 1 + steps) or known(3, ARGV, 2, 1 + steps)) or not plain(6, 2 + steps, #ARGV) then return 0 end
write()
if steps > 0 then remember(3, STEP_WINDOW, ARGV, 2, 1 + steps) end
return 1
