-- Extend the lease if it is this run's. Creates nothing, and uses only commands that work when
-- the server is out of memory. No shebang: with one, Redis refuses the whole script then.
-- KEYS: l:<index>, c. ARGV: run, token, px
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local value = redis.call('GET', KEYS[1])
if not value then return {'gone', now} end
local mine = ARGV[1] .. ':' .. ARGV[2] .. ':'
if string.sub(value, 1, #mine) ~= mine then return {'taken', now, value} end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'renewed', now, redis.call('HGET', KEYS[2], ARGV[1])}
