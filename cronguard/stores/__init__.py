"""REMEMBER. Where leases and records live: Redis, or the embedded SQLite store of this host."""
