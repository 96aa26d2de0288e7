-- Lease the job to this run, or say who is in the way. As a whole or not at all.
-- KEYS: f, -, and the index of jobs if there is one (in a Cluster it would live in another slot).
-- ARGV: run, facts, px, slots, settings, queue_for, evict, slot, slot_px, record, job, at_least,
--       ask (how often this run has asked), not_after (-1: grant nothing)
local run, facts, px, slots = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local settings, queue_for, evict, slot = ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8]
-- Who asked may be gone: a stalled server runs what waited in its sockets, whenever that is.
if tonumber(ARGV[14]) > 0 and now > tonumber(ARGV[14]) then return {'late', text(now)} end
if has_ended(run) then return {'late', text(now)} end
local at_least, ask, barred = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14]) < 0

-- Asked again by the holder: the same grant, for its full time. The token only ever rises, when
-- another server of the same quorum has granted a higher one.
for i = 0, slots - 1 do
  local value = redis.call('GET', p .. 'l:' .. i)
  if is_of(value, run) then
    -- A snapshot may have brought it back, and another run's grant that came later be lost.
    if barred then return {'barred', text(now)} end
    local token = string.match(value, '^[^:]*:(%d+):')
    ask = math.max(ask, tonumber(redis.call('HGET', p .. 'f', 'a' .. i)) or 0)
    if tonumber(token) >= at_least then
      redis.call('PEXPIRE', p .. 'l:' .. i, px)
      redis.call('HSET', p .. 'f', 'a' .. i, text(ask))
      return {'granted', text(now), token, i}
    end
    local last = math.max(tonumber(redis.call('HGET', p .. 'f', 'n')) or 0, at_least)
    redis.call('HSET', p .. 'f', 'n', text(last), 'n' .. i, text(at_least), 'o' .. i, run, 'a' .. i, text(ask))
    redis.call('SET', p .. 'l:' .. i, swap(value, ':' .. token .. ':', ':' .. text(at_least) .. ':'), 'PX', px)
    local record = redis.call('HGET', p .. 'r', run)
    record = record and swap(record, '"token":' .. token, '"token":' .. text(at_least))
    if record then redis.call('HSET', p .. 'r', run, record) end
    return {'granted', text(now), text(at_least), i}
  end
end

-- A holder that is proven dead. Not one that is over and only held for its min_hold.
local dead = evict ~= '' and redis.call('ZSCORE', p .. 'o', evict)
if dead and is_of(redis.call('GET', p .. 'l:' .. dead), evict) then
  redis.call('DEL', p .. 'l:' .. dead)
  close_left_behind()
end

local pause = redis.call('HGET', p .. 'c', 'pause')
if pause then
  local ends = cjson.decode(pause)['until']
  if type(ends) ~= 'number' or now < ends then return {'refused', text(now), 'paused', pause} end
end
local user = slot ~= '' and redis.call('GET', p .. 's:' .. slot)
if user and user ~= run then return {'refused', text(now), 'slot_done', user} end

-- Settings are those of all live leases: who differs may only start when there is none.
local last = redis.call('HGET', p .. 'f', 'c')
if last and last ~= settings then
  for i = 0, tonumber(string.match(last, 'slots=(%d+)') or slots) - 1 do
    local value = redis.call('GET', p .. 'l:' .. i)
    if value then return {'refused', text(now), 'conflict', last, value} end
  end
end

-- The queue. WARNING: HINCRBY, refused when out of memory, is the first write that adds anything.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. 'wx', '-inf', text(now))) do
  redis.call('ZREM', p .. 'w', id)
  redis.call('ZREM', p .. 'wx', id)
end
if queue_for > 0 then
  if not redis.call('ZSCORE', p .. 'w', run) then
    redis.call('ZADD', p .. 'w', redis.call('HINCRBY', p .. 'f', 't', 1), run)
  end
  redis.call('ZADD', p .. 'wx', text(now + queue_for), run)
end
local ahead = redis.call('ZRANK', p .. 'w', run) or redis.call('ZCARD', p .. 'w')

-- What is free, and of what is not, what ends first.
local free, index, holder, left = 0, nil, nil, nil
for i = 0, slots - 1 do
  local value = redis.call('GET', p .. 'l:' .. i)
  if not value then
    free = free + 1
    index = index or i
  else
    local rest = redis.call('PTTL', p .. 'l:' .. i)
    if not left or rest < left then holder, left = value, rest end
  end
end
if ahead >= free then
  if free > 0 then -- only waiters are in the way: name the first one
    holder = redis.call('ZRANGE', p .. 'w', 0, 0)[1]
    left = tonumber(redis.call('ZSCORE', p .. 'wx', holder) or now) - now
  end
  if queue_for > 0 then return {'queued', text(now), holder, left, ahead} end
  return {'held', text(now), holder, left}
end

if barred then return {'barred', text(now)} end

-- The grant. The clock keeps tokens rising though everything stored were lost.
local last_token = tonumber(redis.call('HGET', p .. 'f', 'n')) or 0
local token = text(math.max(last_token + 1, now, at_least))
redis.call('HSET', p .. 'f', 'n', token, 'o', run, 'n' .. index, token, 'o' .. index, run, 'a' .. index, text(ask), 'c', settings)
local value = table.concat({run, token, text(now), px, facts}, ':')
redis.call('SET', p .. 'l:' .. index, value, 'PX', px)
if slot ~= '' then redis.call('SET', p .. 's:' .. slot, run, 'PX', ARGV[9]) end
redis.call('ZREM', p .. 'w', run)
redis.call('ZREM', p .. 'wx', run)
close_left_behind()
redis.call('ZADD', p .. 'o', index, run)
redis.call('ZADD', p .. 'h', token, run) -- the token: no two grants of a job are of one time
redis.call('HSET', p .. 'r', run, swap(ARGV[10], '"token":null', '"token":' .. token) or ARGV[10])
redis.call('HSET', p .. 'n', 'last_start', text(now), 'skips_since_run', 0)
if KEYS[3] then redis.call('ZADD', KEYS[3], text(now), ARGV[11]) end
return {'granted', text(now), token, index}
