-- Free exactly this lease, and fence its holder, so that it can neither renew nor reclaim it.
-- KEYS: f, -. ARGV: run, token, index, by
local index = ARGV[3]
local value = redis.call('GET', p .. 'l:' .. index)
local its = ARGV[1] .. ':' .. ARGV[2] .. ':'
if not value or string.sub(value, 1, #its) ~= its then return 0 end
redis.call('DEL', p .. 'l:' .. index)
local fence = text(math.max((tonumber(redis.call('HGET', p .. 'f', 'n')) or 0) + 1, now))
redis.call('HSET', p .. 'f', 'n', fence, 'o', '', 'n' .. index, fence, 'o' .. index, 'unlocked by ' .. ARGV[4])
local waiter = redis.call('ZRANGE', p .. 'w', 0, 0)[1]
if waiter then redis.pcall('PUBLISH', p .. 'e', 'free ' .. waiter) end
return 1
