-- The most frequent steps of all, where the topic's field plain is in force (see plain.lua): without a function and nearly without a table,
-- which cost more than the calls. Where there is more to it nothing was written, and what follows does it.
repeat
  local call, steps, hash = redis.call, ARGV[1] + 0, KEYS[6]
  local head = 3 + steps
  local record = call('HGET', hash, 'plain')
  if not record or record == '' then break end
  local ms, n, bytes, tail, longest, window, due, width, none, waited =
    string.match(record, '^(%d+) (%d+) (%-?%d+)( (%d+) (%-?%d+) (%d+) (%d+)(n?))(w?)$')
  local alone, now, set, old, id, size, sum, known = #ARGV == head, nil, nil, nil, nil, nil, nil, false
  window = window + 0
  if due ~= '0' or ARGV[2] == '1' and window < STEP_WINDOW then break end
  local last = head
  if alone then
    local blob = ARGV[head]
    local _, a, b, c, d = string.byte(blob, 1, 5)
    a = 5 + a * 256 + b
    size, sum, id, last = #blob, #blob - a - c * 256 - d, string.sub(blob, 6, a), head - 1
  else
    size, sum, last = ARGV[head + 2] + 0, ARGV[head + 1], head + 3 + ARGV[head + 3]
  end
  if size > longest + 0 then break end
  if window > 0 then
    width = width + 0
    set, old = KEYS[9 + width % 3], KEYS[9 + (width + 2) % 3]
    local left = call('PTTL', set)
    if left <= window or left > 2 * window then break end
    now = (width + 2) * window - left
    if alone then
      known = none == '' and call('SISMEMBER', old, id) == 1
    elseif ARGV[head + 3] ~= ARGV[head] then
      break
    else
      known = math.max(unpack(call('SMISMEMBER', set, unpack(ARGV, head + 4, last)))) == 1
        or none == '' and call('EXISTS', old) == 1 and math.max(unpack(call('SMISMEMBER', old, unpack(ARGV, head + 4, last)))) == 1
    end
  else
    local time = call('TIME')
    now = math.floor((time[1] * 1000000 + time[2]) / 1000)
  end
  if steps == 1 then
    local step = ARGV[3]
    known = known or call('SISMEMBER', KEYS[3], step) == 1 or call('SISMEMBER', KEYS[4], step) == 1 or call('SISMEMBER', KEYS[5], step) == 1
  elseif steps > 1 then
    for key = 3, 5 do
      known = known or call('EXISTS', KEYS[key]) == 1 and math.max(unpack(call('SMISMEMBER', KEYS[key], unpack(ARGV, 3, 2 + steps)))) == 1
    end
  end
  if known then break end
  if now > ms + 0 then ms = now .. '' end
  n = n + 0
  if alone and set then
    -- Whether it is known is told by adding it; where its message is refused then, it is not.
    if call('SADD', set, id) == 0 then break end
    n = n + 1
    local added = redis.pcall('XADD', KEYS[7], ms .. '-' .. n, 'm', ARGV[head])
    if type(added) == 'table' then
      call('SREM', set, id)
      return added
    end
  else
    for i = last + 1, #ARGV do
      local form, hi, lo = string.byte(ARGV[i], 1, 3)
      n = n + (form == 2 and hi * 256 + lo or 1)
      call('XADD', KEYS[7], ms .. '-' .. n, 'm', ARGV[i])
    end
  end
  n, bytes = n .. '', bytes + sum .. ''
  call('HSET', hash, 'ms', ms, 'n', n, 'bytes', bytes, 'plain', ms .. ' ' .. n .. ' ' .. bytes .. tail)
  if set and not alone then call('SADD', set, unpack(ARGV, head + 4, last)) end
  if steps > 0 then
    local at = math.floor(now / STEP_WINDOW)
    call('SADD', KEYS[3 + at % 3], unpack(ARGV, 3, 2 + steps))
    call('PEXPIREAT', KEYS[3 + at % 3], (at + 2) * STEP_WINDOW .. '')
  end
  if waited == 'w' then
    for channel in string.gmatch(call('HGET', hash, 'waiters') or '', '%S+') do redis.pcall('PUBLISH', channel, hash) end
    call('HDEL', hash, 'waiters')
  end
  do return window < STEP_WINDOW and 2 or 1 end
until true
