-- Lease the job to this run, or say who is in the way. As a whole or not at all.
-- KEYS: f, -, and the index of jobs if there is one (in a Cluster it would live in another slot).
-- ARGV: run, facts, px, slots, settings, queue_for, evict, rule, slot_px, record, job, at_least,
--       ask (how often this run has asked), replace (who asks the runs in the way to stop, or
--       nothing), not_after (-1: grant nothing)
local run, facts, px, slots = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local settings, queue_for, evict, rule = ARGV[5], tonumber(ARGV[6]), ARGV[7], ARGV[8]
-- Who asked may be gone: a stalled server runs what waited in its sockets, whenever that is.
if tonumber(ARGV[15]) > 0 and now > tonumber(ARGV[15]) then return {'late', text(now)} end
if has_ended(run) then return {'late', text(now)} end
local at_least, ask, barred = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[15]) < 0

-- The slot of a rule (see core/slot.py) that is nearest to now; nil if now is not within it.
local function nearest()
  local period = tonumber(string.match(rule, '^%*/(%d+)$'))
  if period then return math.floor((now + math.floor(period / 2)) / period) * period end
  local best, last
  for word in string.gmatch(rule, '%d+') do
    local at = tonumber(word)
    if not best and now < at and string.find(rule, ' ', 1, true) then return nil end
    if not best or 2 * now >= best + at then best = at end
    last = at
  end
  if now > last and string.find(rule, ' ', 1, true) then return nil end
  return best
end
local slot = rule == '' and '' or nearest()
if not slot then return {'off', text(now)} end
if slot ~= '' then slot = text(slot) end

local function utc(ms)
  local floor = math.floor
  local days = floor(ms / 86400000)
  local day = (days + 719468) % 146097
  local year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365)
  day = day - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * day + 2) / 153)
  day = day - floor((153 * month + 2) / 5) + 1
  month = month + (month < 10 and 3 or -9)
  year = year + 400 * floor((days + 719468) / 146097) + (month <= 2 and 1 or 0)
  local s = floor(ms / 1000) % 86400
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day, floor(s / 3600), floor(s / 60) % 60, s % 60, ms % 1000)
end

-- Another server of the quorum chose another slot: this run's lease at *i* is to be for that one.
local function move_slot(i, value)
  local before = redis.call('HGET', p .. 'f', 'u' .. i) or ''
  redis.call('HSET', p .. 'f', 'u' .. i, slot)
  redis.call('SET', p .. 's:' .. slot, value, 'PX', ARGV[9])
  if before ~= '' and is_of(redis.call('GET', p .. 's:' .. before), run) then redis.call('DEL', p .. 's:' .. before) end
  local record = redis.call('HGET', p .. 'r', run)
  local was = before == '' and '"slot":null' or '"slot":"' .. utc(tonumber(before)) .. '"'
  record = record and swap(record, was, '"slot":"' .. utc(tonumber(slot)) .. '"')
  if record then redis.call('HSET', p .. 'r', run, record) end
end

local function failures() return tonumber(redis.call('HGET', p .. 'n', 'failures_in_a_row')) or 0 end

-- Asked again by the holder: the same grant, for its full time. The token only ever rises, when
-- another server of the same quorum has granted a higher one.
for i = 0, slots - 1 do
  local value = redis.call('GET', p .. 'l:' .. i)
  if is_of(value, run) then
    -- A snapshot may have brought it back, and another run's grant that came later be lost.
    if barred then return {'barred', text(now)} end
    local token = string.match(value, '^[^:]*:(%d+):')
    local used = redis.call('HGET', p .. 'f', 'u' .. i) or ''
    if string.match(rule, '^%d+$') and used ~= slot then
      local user = user_of_slot(slot, run)
      if user then
        redis.call('DEL', p .. 'l:' .. i)
        redis.call('ZREM', p .. 'o', run)
        return {'refused', text(now), 'slot_done', user, slot}
      end
      move_slot(i, value)
      used = slot
    end
    ask = math.max(ask, tonumber(redis.call('HGET', p .. 'f', 'a' .. i)) or 0)
    if tonumber(token) >= at_least then
      redis.call('PEXPIRE', p .. 'l:' .. i, px)
      redis.call('HSET', p .. 'f', 'a' .. i, text(ask))
      return {'granted', text(now), token, i, used, failures()}
    end
    local last = math.max(tonumber(redis.call('HGET', p .. 'f', 'n')) or 0, at_least)
    redis.call('HSET', p .. 'f', 'n', text(last), 'n' .. i, text(at_least), 'o' .. i, run, 'a' .. i, text(ask))
    redis.call('SET', p .. 'l:' .. i, swap(value, ':' .. token .. ':', ':' .. text(at_least) .. ':'), 'PX', px)
    local record = redis.call('HGET', p .. 'r', run)
    record = record and swap(record, '"token":' .. token, '"token":' .. text(at_least))
    if record then redis.call('HSET', p .. 'r', run, record) end
    return {'granted', text(now), text(at_least), i, used, failures()}
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
local user = user_of_slot(slot, run)
if user then return {'refused', text(now), 'slot_done', user, slot} end

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
  if id ~= run then redis.call('HDEL', p .. 'c', id) end -- the word that it was to stop
end
if queue_for > 0 then
  if not redis.call('ZSCORE', p .. 'w', run) then
    redis.call('ZADD', p .. 'w', redis.call('HINCRBY', p .. 'f', 't', 1), run)
  end
  redis.call('ZADD', p .. 'wx', text(now + queue_for), run)
end
local ahead = redis.call('ZRANK', p .. 'w', run) or redis.call('ZCARD', p .. 'w')

-- Leave word for a run to stop, and push it; once.
local function ask_to_stop(id)
  if redis.call('HGET', p .. 'c', id) then return end
  redis.call('HSET', p .. 'c', id, ARGV[14])
  redis.pcall('PUBLISH', p .. 'e', 'stop ' .. id .. ' ' .. ARGV[14])
end

-- What is free, and of what is not, what ends first, and what was granted first.
local oldest, lowest
local free, index, holder, left = 0, nil, nil, nil
for i = 0, slots - 1 do
  local value = redis.call('GET', p .. 'l:' .. i)
  if not value then
    free = free + 1
    index = index or i
  else
    local rest = redis.call('PTTL', p .. 'l:' .. i)
    if not left or rest < left then holder, left = value, rest end
    local id, token = string.match(value, '^([^:]*):(%d+):')
    token = tonumber(token)
    if token and redis.call('ZSCORE', p .. 'o', id) and (not lowest or token < lowest) then oldest, lowest = id, token end
  end
end
if ahead >= free then
  if ARGV[14] ~= '' then
    if oldest and free == 0 then ask_to_stop(oldest) end
    local before = redis.call('ZRANK', p .. 'w', run) or 0
    for _, id in ipairs(before > 0 and redis.call('ZRANGE', p .. 'w', 0, before - 1) or {}) do ask_to_stop(id) end
  end
  if free > 0 then -- only waiters are in the way: name the first one
    holder = redis.call('ZRANGE', p .. 'w', 0, 0)[1]
    left = tonumber(redis.call('ZSCORE', p .. 'wx', holder) or now) - now
  end
  if queue_for > 0 then return {'queued', text(now), holder, left, ahead, slot} end
  local is_over = free == 0 and not redis.call('ZSCORE', p .. 'o', string.match(holder, '^[^:]*'))
  return {'held', text(now), holder, left, is_over and 1 or 0, slot}
end

if barred then return {'barred', text(now)} end

-- The grant. The clock keeps tokens rising though everything stored were lost.
local last_token = tonumber(redis.call('HGET', p .. 'f', 'n')) or 0
local token = text(math.max(last_token + 1, now, at_least))
redis.call('HSET', p .. 'f', 'n', token, 'o', run, 'n' .. index, token, 'o' .. index, run, 'a' .. index, text(ask), 'u' .. index, slot, 'c', settings)
local value = table.concat({run, token, text(now), px, facts}, ':')
redis.call('SET', p .. 'l:' .. index, value, 'PX', px)
if slot ~= '' then redis.call('SET', p .. 's:' .. slot, value, 'PX', ARGV[9]) end
redis.call('ZREM', p .. 'w', run)
redis.call('ZREM', p .. 'wx', run)
close_left_behind()
redis.call('ZADD', p .. 'o', index, run)
if ARGV[10] == '' then return {'granted', text(now), token, index, slot, 0} end -- no job's: a lock's
redis.call('ZADD', p .. 'h', token, run) -- the token: no two grants of a job are of one time
local record = swap(ARGV[10], '"token":null', '"token":' .. token) or ARGV[10]
if slot ~= '' then record = swap(record, '"slot":null', '"slot":"' .. utc(tonumber(slot)) .. '"') or record end
redis.call('HSET', p .. 'r', run, record)
redis.call('HSET', p .. 'n', 'last_start', text(now), 'skips_since_run', 0)
if KEYS[3] then redis.call('ZADD', KEYS[3], text(now), ARGV[11]) end
return {'granted', text(now), token, index, slot, failures()}
