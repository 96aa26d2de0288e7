-- Return the newest records of runs, the newest first, each up to its output. Writes nothing.
-- KEYS: f, -. ARGV: how many, at least 1.
local p = string.sub(KEYS[1], 1, -2)
local runs = redis.call('ZRANGE', p .. 'h', -tonumber(ARGV[1]), -1)
local found = {}
for i = #runs, 1, -1 do
  local record = redis.call('HGET', p .. 'r', runs[i])
  local output = record and string.find(record, ',"output_tail":', 1, true)
  found[#found + 1] = output and (string.sub(record, 1, output - 1) .. '}') or record or nil
end
return found
