-- Tell a key of text by its length and its beginning, if it has no expiry; nothing of another kind.
-- KEYS: any key, alone
if redis.call('PTTL', KEYS[1]) ~= -1 then return {} end
local value = redis.pcall('GET', KEYS[1])
if type(value) ~= 'string' then return {} end
return {#value, string.sub(value, 1, 256)}
