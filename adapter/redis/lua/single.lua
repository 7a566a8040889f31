-- The most frequent step of all, one message where the topic's field plain is in force (see plain.lua), without a function and nearly
-- without a table, which cost more than the calls. Where there is more to it nothing was written, and what follows does it.
repeat
  local steps = ARGV[1]
  if #ARGV ~= 3 + steps then break end
  local call, hash, step, blob = redis.call, KEYS[6], ARGV[3], ARGV[3 + steps]
  local record = call('HGET', hash, 'plain')
  if not record or record == '' then break end
  local ms, n, bytes, tail, longest, window, due, width = string.match(record, '^(%d+) (%d+) (%-?%d+)( (%d+) (%-?%d+) (%d+) (%d+))$')
  local _, a, b, c, d = string.byte(blob, 1, 5)
  local head, now, set, id = 5 + a * 256 + b, nil, nil, nil
  window = window + 0
  if due ~= '0' or #blob > longest + 0 or ARGV[2] == '1' and window < STEP_WINDOW then break end
  if window > 0 then
    width, id = width + 0, string.sub(blob, 6, head)
    set = KEYS[9 + width % 3]
    local left = call('PTTL', set)
    if left <= window or left > 2 * window then break end
    now = (width + 2) * window - left
    if call('SISMEMBER', set, id) == 1 or call('SISMEMBER', KEYS[9 + (width + 2) % 3], id) == 1 then break end
  else
    local time = call('TIME')
    now = math.floor((time[1] * 1000000 + time[2]) / 1000)
  end
  if steps == '1' and (call('SISMEMBER', KEYS[3], step) == 1 or call('SISMEMBER', KEYS[4], step) == 1 or call('SISMEMBER', KEYS[5], step) == 1) then break end
  if now > ms + 0 then ms = now .. '' end
  n, bytes = n + 1 .. '', bytes + #blob - head - c * 256 - d .. ''
  call('XADD', KEYS[7], ms .. '-' .. n, 'm', blob)
  call('HSET', hash, 'ms', ms, 'n', n, 'bytes', bytes, 'plain', ms .. ' ' .. n .. ' ' .. bytes .. tail)
  if set then call('SADD', set, id) end
  if steps == '1' then
    local at = math.floor(now / STEP_WINDOW)
    call('SADD', KEYS[3 + at % 3], step)
    call('PEXPIREAT', KEYS[3 + at % 3], (at + 2) * STEP_WINDOW .. '')
  end
  do return window < STEP_WINDOW and 2 or 1 end
until true
