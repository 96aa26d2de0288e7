-- Forget records that ended before a moment, so many at most; never one of a run that is open or
-- whose lease is there. Counters stay. Return how many.
-- KEYS: f, -. ARGV: the moment in ms, and as records have it; batch; `look` to forget none
local before, moment, batch = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local slots = tonumber(string.match(redis.call('HGET', p .. 'f', 'c') or '', 'slots=(%d+)') or 1)
local held = {}
for i = 0, slots - 1 do
  local value = redis.call('GET', p .. 'l:' .. i)
  if value then held[string.match(value, '^[^:]*')] = true end
end
local count = 0
for _, kind in ipairs({'h', 'x', 'k'}) do
  local ids = redis.call('ZRANGE', p .. kind, 0, -1, 'WITHSCORES')
  for i = 1, #ids, 2 do
    local id = ids[i]
    if count >= batch then return count end
    local record = not held[id] and not redis.call('ZSCORE', p .. 'o', id) and redis.call('HGET', p .. 'r', id)
    if record and string.match(record, '"outcome":"([a-z_]+)"') ~= 'running' then
      -- Where an end was told, it counts; of a keeper that vanished only the start is known.
      local ended = string.match(record, '"ended_at":"([^"]+)"')
      if (ended and ended < moment) or (not ended and tonumber(ids[i + 1]) < before) then
        count = count + 1
        if ARGV[4] ~= 'look' then
          redis.call('HDEL', p .. 'r', id)
          redis.call('ZREM', p .. kind, id)
        end
      end
    end
  end
end
return count
