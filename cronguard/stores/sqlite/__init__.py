"""The embedded store: one SQLite file on this host, for leases that need not leave it."""
