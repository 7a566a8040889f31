-- Reads the log. KEYS: 1 topics, 2 the topic. ARGV: from (earliest, latest, after), era, ms, n, most, bytes, channel ('' for none).
-- Answers {from, era, ms, n: where to go on, ms until it is worth to look again, then <id> <message> for each}, or 'gap'.

local t = topic(2)
local from, era, ms, n, most, bytes = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
if not t.era then
  if from == 'after' then finish() return 'gap' end
  await(t, ARGV[7])
  finish()
  return {'earliest', '', '0', '0', -1}
end
if from == 'earliest' then
  era, ms, n = t.era, '0', '0'
elseif from == 'latest' then
  from, era, ms, n = 'after', t.era, text(t.ms), text(t.n)
elseif not placed(t, era, ms, n) then
  finish()
  return 'gap'
end
local out = {from, era, ms, n, t.due and math.max(0, t.due - now) or -1}
for _, m in ipairs(entries(t, ms .. '-' .. n, math.min(most, 500), bytes)) do
  out[#out + 1], out[#out + 2] = m[1], m[2]
end
if #out == 5 then await(t, ARGV[7]) end
finish()
return out
