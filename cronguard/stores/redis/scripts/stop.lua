-- Leave word for a run to stop, if it holds a lease or waits for one, and push it.
-- KEYS: f, -. ARGV: run, by
local run, by = ARGV[1], ARGV[2]
if not redis.call('ZSCORE', p .. 'o', run) and not redis.call('ZSCORE', p .. 'w', run) then return 0 end
redis.call('HSET', p .. 'c', run, by)
redis.pcall('PUBLISH', p .. 'e', 'stop ' .. run .. ' ' .. by)
return 1
