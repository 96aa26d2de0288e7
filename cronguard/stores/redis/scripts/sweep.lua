-- Close what vanished keepers left open. Return {run id, record, ...} of these, as they were.
-- KEYS: f, -. ARGV: `look` to change nothing
local found = {}
local open = redis.call('ZRANGE', p .. 'o', 0, -1, 'WITHSCORES')
for i = 1, #open, 2 do
  if not is_of(redis.call('GET', p .. 'l:' .. open[i + 1]), open[i]) then
    found[#found + 1] = open[i]
    found[#found + 1] = redis.call('HGET', p .. 'r', open[i]) or ''
  end
end
if ARGV[1] ~= 'look' then close_left_behind() end
return found
