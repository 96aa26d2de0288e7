-- Begins every script: the job's keys, the store's clock, and how to close what a keeper left.
local p = string.sub(KEYS[1], 1, -2)
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now = now_ms()
-- Numbers above 2^31 would print as 1.79e+12.
local function text(n) return string.format('%.0f', n) end
-- True if the lease *value* is that of run *id*. Plain comparison: ids are data, not patterns.
local function is_of(value, id)
  return value and string.sub(value, 1, #id + 1) == id .. ':'
end
-- Put *to* in the place of the first *from*, as plain text; nil if there is none.
local function swap(record, from, to)
  local first, last = string.find(record, from, 1, true)
  return first and (string.sub(record, 1, first - 1) .. to .. string.sub(record, last + 1))
end
-- Tell whether the end of run *id* is on record. What it asks for then came late, over a connection
-- that it gave up; `not_after` does not see that where the clock was set back meanwhile.
local function has_ended(id)
  local outcome = string.match(redis.call('HGET', p .. 'r', id) or '', '"outcome":"([a-z_]+)"')
  return outcome and outcome ~= 'running' and outcome ~= 'abandoned'
end
-- Return which other run than *run* used up the slot, unless that run never started or its keeper vanished.
local function user_of_slot(slot, run)
  local user = slot ~= '' and redis.call('GET', p .. 's:' .. slot)
  if not user or is_of(user, run) then return nil end
  local id = string.match(user, '^[^:]*')
  local index = redis.call('ZSCORE', p .. 'o', id)
  if index then return is_of(redis.call('GET', p .. 'l:' .. index), id) and user or nil end
  local outcome = string.match(redis.call('HGET', p .. 'r', id) or '', '"outcome":"([a-z_]+)"')
  return outcome ~= 'abandoned' and outcome ~= 'not_started' and user or nil
end
-- Close the records of open runs that no longer have their lease: their keeper vanished.
local function close_left_behind()
  local open = redis.call('ZRANGE', p .. 'o', 0, -1, 'WITHSCORES')
  for i = 1, #open, 2 do
    local id = open[i]
    if not is_of(redis.call('GET', p .. 'l:' .. open[i + 1]), id) then
      redis.call('ZREM', p .. 'o', id)
      redis.call('HDEL', p .. 'c', id)
      local record = redis.call('HGET', p .. 'r', id)
      record = record and swap(record, '"outcome":"running"', '"outcome":"abandoned"')
      if record then
        redis.call('HSET', p .. 'r', id, record)
        redis.call('HINCRBY', p .. 'n', 'abandoned', 1)
        redis.call('HINCRBY', p .. 'n', 'failures_in_a_row', 1)
        redis.call('HSET', p .. 'n', 'last_failure', text(now))
      end
    end
  end
end
