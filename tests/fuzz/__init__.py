"""Input that nobody meant: a lying server, a mangled file, an odd command line.

Two forms. `make test` takes a few hundred examples of each, always the same ones, and replays the
corpus. `make fuzz` takes many, and new ones each time (corpus.py says how to keep what it finds).
"""
