-- Return the job's live leases, {index, value, ms left, 1 if its run is not over}, and unless only
-- these are asked for: who waits, newest record, counters, records of the leases' other runs, and
-- the job's pause.
-- KEYS: f, -. ARGV: `leases`, `all`, or `live`: all of it if there is a lease, else nothing.
local wanted = ARGV[1]
if wanted ~= 'leases' then close_left_behind() end
local slots = tonumber(string.match(redis.call('HGET', p .. 'f', 'c') or '', 'slots=(%d+)') or 1)
local highest = redis.call('ZRANGE', p .. 'o', -1, -1, 'WITHSCORES')[2] -- should f be lost
local found, runs = {}, {}
for i = 0, math.max(slots - 1, tonumber(highest or 0)) do
  local value = redis.call('GET', p .. 'l:' .. i)
  if value then
    local run = string.match(value, '^[^:]*')
    local open = redis.call('ZSCORE', p .. 'o', run)
    found[#found + 1] = {i, value, redis.call('PTTL', p .. 'l:' .. i), open and 1 or 0}
    runs[#runs + 1] = run
  end
end
if wanted == 'leases' or (wanted == 'live' and #found == 0) then return {found} end

local waiting = {}
for _, id in ipairs(redis.call('ZRANGE', p .. 'w', 0, -1)) do
  local ends = redis.call('ZSCORE', p .. 'wx', id)
  if ends and tonumber(ends) > now then waiting[#waiting + 1] = id end
end
local newest = redis.call('ZRANGE', p .. 'h', -1, -1)[1]
local others = {}
for _, run in ipairs(runs) do
  local record = run ~= newest and redis.call('HGET', p .. 'r', run)
  if record then others[#others + 1] = record end
end
-- WARNING: false, as a reply ends at its first nil.
local record = newest and redis.call('HGET', p .. 'r', newest) or false
local pause = redis.call('HGET', p .. 'c', 'pause')
return {found, waiting, record, redis.call('HGETALL', p .. 'n'), others, pause}
