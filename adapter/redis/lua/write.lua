-- Makes several steps, each alone. KEYS: 1 topics, 2 fences, 3-5 IDs of steps, then topics, groups and keys.
-- ARGV: number of steps; for each its ID and the step.

a = 1
local out, fresh, mine, steps = {}, {}, {}, {}
for i = 1, tonumber(ARGV[1]) do
  local id, s = arg(), parse()
  s.id, s.repeated = id, id ~= '' and known(3, id)
  if not s.repeated then prepare(s) end
  steps[i] = s
end
for i, s in ipairs(steps) do
  if s.repeated or mine[s.id] then
    out[i] = 0
  else
    out[i] = check(s)
    if not out[i] then
      out[i] = apply(s)
      if s.id ~= '' then fresh[#fresh + 1], mine[s.id] = s.id, true end
    end
  end
end
remember(3, STEP_WINDOW, fresh)
finish()
return out
