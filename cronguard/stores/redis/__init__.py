"""Redis and Valkey: the lease side on a small non-blocking client, the history side on redis-py."""
