-- End the run: first free what is its own, then store the record. A record that is refused never
-- keeps the lease. The first write is one that works when out of memory, and Redis lets a script
-- that has written go on: so the record is stored then, too.
-- KEYS: f, -, and the index of jobs if there is one.
-- ARGV: run, slots, release, min_hold, slot, forget_slot, record, outcome, reason, ended, job,
--       kept runs, kept failures, kept skips; and where a grant is undone, ask and not_after
local run, slots, outcome, reason = ARGV[1], tonumber(ARGV[2]), ARGV[8], ARGV[9]
-- Undoing comes to nothing after its time, and takes nothing that was asked for later: it may have
-- been on its way while the run was granted the lease anew, over another connection.
if ARGV[15] then
  if tonumber(ARGV[16]) > 0 and now > tonumber(ARGV[16]) then return {'late', text(now)} end
  for i = 0, slots - 1 do
    local later = is_of(redis.call('GET', p .. 'l:' .. i), run) and redis.call('HGET', p .. 'f', 'a' .. i)
    if later and tonumber(later) > tonumber(ARGV[15]) then return {'late', text(now)} end
  end
end
local index = redis.call('ZSCORE', p .. 'o', run)
redis.call('ZREM', p .. 'o', run)

local freed = redis.call('ZREM', p .. 'w', run) == 1
redis.call('ZREM', p .. 'wx', run)
redis.call('HDEL', p .. 'c', run)
for i = 0, slots - 1 do
  local key = p .. 'l:' .. i
  local value = ARGV[3] == '1' and redis.call('GET', key)
  if is_of(value, run) then
    local hold = tonumber(ARGV[4])
    local rest = math.min(string.match(value, '^[^:]*:%d+:(%d+):') + hold - now, hold)
    if rest > 0 then redis.call('PEXPIRE', key, text(rest)) else freed = redis.call('DEL', key) end
  end
end
if ARGV[6] == '1' then
  for _, slot in ipairs({ARGV[5], index and redis.call('HGET', p .. 'f', 'u' .. index) or ''}) do
    if is_of(redis.call('GET', p .. 's:' .. slot), run) then redis.call('DEL', p .. 's:' .. slot) end
  end
end
-- Only those who can be next are woken. Where publishing is not allowed they ask in time anyway.
local next_ones = freed and redis.call('ZRANGE', p .. 'w', 0, math.min(slots, 16) - 1) or {}
if #next_ones > 0 then
  redis.pcall('PUBLISH', p .. 'e', 'free ' .. table.concat(next_ones, ' '))
end

local function failure(o) return o ~= 'running' and o ~= 'succeeded' and o ~= 'skipped' end
local function outcome_of(record) return string.match(record, '"outcome":"([a-z_]+)"') end
local function forget(id) redis.call('HDEL', p .. 'r', id) end

-- Add *run* to *zset* at *at*, or just after what is there: what came later stands later.
local function add(zset, at)
  while redis.call('ZCOUNT', zset, text(at), text(at)) > 0 do at = at + 1 end
  redis.call('ZADD', zset, 'NX', text(at), run)
end

local function count(before)
  local n = p .. 'n'
  if before == 'abandoned' then redis.call('HINCRBY', n, 'abandoned', -1) end
  redis.call('HINCRBY', n, outcome, 1)
  if outcome == 'skipped' then
    redis.call('HINCRBY', n, 'skipped:' .. reason, 1)
    redis.call('HINCRBY', n, 'skips_since_run', 1)
  elseif failure(outcome) then
    redis.call('HSET', n, 'last_failure', ARGV[10])
    if before ~= 'abandoned' then redis.call('HINCRBY', n, 'failures_in_a_row', 1) end
  else
    redis.call('HSET', n, 'last_success', ARGV[10], 'failures_in_a_row', 0)
  end
end

-- Keep the newest in *zset*; what falls out goes to *spare*. An open run never falls out.
local function trim(zset, kept, spare)
  for _, id in ipairs(redis.call('ZRANGE', zset, 0, -1 - kept)) do
    local o = outcome_of(redis.call('HGET', p .. 'r', id) or '')
    if o ~= 'running' then
      local at = redis.call('ZSCORE', zset, id)
      redis.call('ZREM', zset, id)
      if spare and o and failure(o) then redis.call('ZADD', spare, at, id) else forget(id) end
    end
  end
end

local function store()
  if KEYS[3] then redis.call('ZADD', KEYS[3], text(now), ARGV[11]) end
  local before = redis.call('HGET', p .. 'r', run)
  before = before and outcome_of(before)
  if ARGV[7] == '' then -- a run that leaves no record, not even that of its start
    -- An end that was told meanwhile stays: the run gave up while it was granted the lease.
    if before and before ~= 'running' and before ~= 'abandoned' then return end
    forget(run)
    redis.call('ZREM', p .. 'h', run)
    return
  end
  redis.call('HSET', p .. 'r', run, ARGV[7])
  if outcome == 'skipped' then
    redis.call('ZREM', p .. 'h', run)
    if not redis.call('ZSCORE', p .. 'k', run) then add(p .. 'k', tonumber(ARGV[10])) end
  elseif not redis.call('ZSCORE', p .. 'x', run) and not redis.call('ZSCORE', p .. 'h', run) then
    add(p .. 'h', tonumber(ARGV[10]))
  end
  if not before or before == 'running' or before == 'abandoned' then count(before) end
  trim(p .. 'h', tonumber(ARGV[12]), p .. 'x')
  trim(p .. 'x', tonumber(ARGV[13]))
  trim(p .. 'k', tonumber(ARGV[14]))
end

local stored, why = pcall(store)
if stored then return {'closed', text(now)} end
return {'unstored', text(now), type(why) == 'table' and why.err or tostring(why)}
