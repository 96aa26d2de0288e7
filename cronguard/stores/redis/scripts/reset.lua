-- Forget the job, unless a run of it holds a lease: return 1, or 0. What keeps runs apart stays: the
-- fence with its tokens, slots that are used up, and a lock that only min_hold keeps.
-- KEYS: f, -, and the index of jobs if there is one. ARGV: job
local slots = tonumber(string.match(redis.call('HGET', p .. 'f', 'c') or '', 'slots=(%d+)') or 1)
local highest = redis.call('ZRANGE', p .. 'o', -1, -1, 'WITHSCORES')[2] -- should f be lost
for i = 0, math.max(slots - 1, tonumber(highest or 0)) do
  local value = redis.call('GET', p .. 'l:' .. i)
  if value and not has_ended(string.match(value, '^[^:]*')) then return 0 end
end
for _, kind in ipairs({'r', 'o', 'h', 'x', 'k', 'n', 'c', 'w', 'wx'}) do
  redis.call('DEL', p .. kind)
end
if KEYS[3] then redis.call('ZREM', KEYS[3], ARGV[1]) end
return 1
