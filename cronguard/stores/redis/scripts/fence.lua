-- Note that a token was seen for a resource; return the highest one that was, itself included.
-- KEYS: the resource. ARGV: token. An error if what stands there is no token.
local value = redis.call('GET', KEYS[1])
local seen = value and tonumber(value) or 0
if value and not string.match(value, '^%d+$') then return redis.error_reply('WRONGTYPE no token') end
if tonumber(ARGV[1]) <= seen then return value end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
