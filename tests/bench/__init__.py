"""The budgets, measured side by side in one run: `make bench`. Nothing here is asserted."""
