"""DECIDES. No clock, socket, process, environment or file: time and facts are handed in."""
