-- Makes several steps, each alone. KEYS: 1 topics, 2 fences, 3-5 IDs of steps, then topics, groups and keys.
-- ARGV: number of steps; for each its ID and the step.

a = 1
local out, fresh, mine, steps, new, named = {}, {}, {}, {}, {}, {}
for i = 1, tonumber(ARGV[1]) do
  local id = arg()
  local s = parse()
  s.id, steps[i] = id, s
  if id ~= '' then fresh[#fresh + 1], named[#named + 1] = id, s end
end
for i in pairs(knownOf(3, fresh, 1, #fresh)) do named[i].repeated = true end
for _, s in ipairs(steps) do
  if not s.repeated then new[#new + 1] = s end
end
prepare(new)
fresh = {}
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
