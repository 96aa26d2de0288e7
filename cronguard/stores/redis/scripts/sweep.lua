-- Close what vanished keepers left open. KEYS: f, -
close_left_behind()
return text(now)
