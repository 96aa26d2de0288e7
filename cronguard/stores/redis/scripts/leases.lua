-- Return the job's live leases: {index, value, ms left, 1 if its run is not over}. KEYS: f
local slots = tonumber(string.match(redis.call('HGET', p .. 'f', 'c') or '', 'slots=(%d+)') or 1)
local highest = redis.call('ZRANGE', p .. 'o', -1, -1, 'WITHSCORES')[2] -- should f be lost
local found = {}
for i = 0, math.max(slots - 1, tonumber(highest or 0)) do
  local value = redis.call('GET', p .. 'l:' .. i)
  if value then
    local open = redis.call('ZSCORE', p .. 'o', string.match(value, '^[^:]*'))
    found[#found + 1] = {i, value, redis.call('PTTL', p .. 'l:' .. i), open and 1 or 0}
  end
end
return found
