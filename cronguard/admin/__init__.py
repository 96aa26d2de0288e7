"""READS AND STEERS. The commands beside `run`, one file each, on the history side of a store."""
