"""RESOLVES. One row an option, two parsers, TOML files: what is to be run, and who said so."""
