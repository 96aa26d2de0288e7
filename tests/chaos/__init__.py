"""Chaos, as a program: hosts that contend while faults come, and a proof of what then happened."""
