"""What must hold of every history: one invariant a file, each a pure function of the history."""
