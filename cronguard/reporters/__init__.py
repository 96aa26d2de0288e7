"""Tell: reports of runs, to the tools that people already use. A short-lived process of its own.

`run` only starts it, after the lock is given back, and waits for it within bounds. A report is
written on this host first and taken away when it is told, so one that cannot be told now is told
with the next run or `cronguard flush`. For one job and one reporter the order is kept.
"""
