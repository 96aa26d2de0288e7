-- Remove a key of text that is as it was looked at, and still has no expiry: return 1, or 0.
-- KEYS: any key, alone. ARGV: its length, its beginning
if redis.call('PTTL', KEYS[1]) ~= -1 then return 0 end
local value = redis.pcall('GET', KEYS[1])
if type(value) ~= 'string' then return 0 end
if #value ~= tonumber(ARGV[1]) or string.sub(value, 1, 256) ~= ARGV[2] then return 0 end
return redis.call('DEL', KEYS[1])
