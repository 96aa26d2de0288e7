-- Give a lease its expiry back that it lost, or that a step of the clock put far away: a holder that
-- lives renews it in time, and it ends with one that does not. Return 1, or 0.
-- KEYS: f, -. ARGV: run, token, index, px
local lease = p .. 'l:' .. ARGV[3]
local value = redis.call('GET', lease)
local its = ARGV[1] .. ':' .. ARGV[2] .. ':'
if not value or string.sub(value, 1, #its) ~= its or tonumber(ARGV[4]) <= 0 then return 0 end
local left = redis.call('PTTL', lease)
local kept = not redis.call('ZSCORE', p .. 'o', ARGV[1]) -- by min_hold, which may be longer
if left ~= -1 and (kept or left <= tonumber(ARGV[4])) then return 0 end
redis.call('PEXPIRE', lease, ARGV[4])
return 1
