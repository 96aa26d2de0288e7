-- Take a lease that vanished again, unless another run was granted this index since, or the slot
-- that this run is for: that may have vanished as well, and is used up by this.
-- KEYS: f, -. ARGV: run, facts, px, settings, token, index, granted, slot, slot_px, not_after
local run, px, token, index, slot = ARGV[1], ARGV[3], ARGV[5], ARGV[6], ARGV[8]
if tonumber(ARGV[10]) > 0 and now > tonumber(ARGV[10]) then return {'late', text(now)} end
if has_ended(run) then return {'late', text(now)} end
local lease = p .. 'l:' .. index
local value = redis.call('GET', lease)
local mine = run .. ':' .. token .. ':'
if value and string.sub(value, 1, #mine) ~= mine then return {'taken', text(now), value} end

if value then -- asked again: the answer to the first time was lost
  redis.call('PEXPIRE', lease, px)
else
  -- No fence at all means that the server lost everything, and nobody was granted anything since.
  local f = redis.call('HMGET', p .. 'f', 'n' .. index, 'o' .. index, 'c')
  local fenced = f[1] and (f[1] ~= token or f[2] ~= run)
  if fenced or (f[3] and f[3] ~= ARGV[4]) then return {'taken', text(now), false} end
  local user = user_of_slot(slot, run)
  if user then return {'taken', text(now), user} end
  local last = math.max(tonumber(redis.call('HGET', p .. 'f', 'n')) or 0, tonumber(token))
  redis.call('HSET', p .. 'f', 'n', text(last), 'n' .. index, token, 'o' .. index, run, 'c', ARGV[4])
  local granted = ARGV[7] ~= '' and ARGV[7] or text(now)
  value = table.concat({run, token, granted, px, ARGV[2]}, ':')
  redis.call('SET', lease, value, 'PX', px)
  if slot ~= '' then
    redis.call('HSET', p .. 'f', 'u' .. index, slot)
    redis.call('SET', p .. 's:' .. slot, value, 'PX', ARGV[9])
  end
  redis.call('ZADD', p .. 'o', index, run)
  -- A reader may have taken this run for abandoned in between.
  local record = redis.call('HGET', p .. 'r', run)
  record = record and swap(record, '"outcome":"abandoned"', '"outcome":"running"')
  if record then
    redis.call('HSET', p .. 'r', run, record)
    redis.call('HINCRBY', p .. 'n', 'abandoned', -1)
    redis.call('HINCRBY', p .. 'n', 'failures_in_a_row', -1)
  end
end
return {'renewed', text(now), redis.call('HGET', p .. 'c', run)}
