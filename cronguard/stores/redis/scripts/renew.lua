-- Extend the lease if it is this run's. Creates nothing, and uses only commands that work when
-- the server is out of memory. No shebang: with one, Redis refuses the whole script then.
-- KEYS: l:<index>, alone: so a Cluster finds it also while the job's other keys are moving.
-- ARGV: run, token, px
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local value = redis.call('GET', KEYS[1])
if not value then return {'gone', now} end
local mine = ARGV[1] .. ':' .. ARGV[2] .. ':'
if string.sub(value, 1, #mine) ~= mine then return {'taken', now, value} end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local control = string.gsub(KEYS[1], 'l:%d+$', 'c')
local stop_by = redis.pcall('HGET', control, ARGV[1])
return {'renewed', now, type(stop_by) == 'string' and stop_by}
