#!/usr/bin/env python3
"""A resource that checks the fencing token itself: no write of a stale run gets through.

    cronguard run --name report -- examples/fenced_writer.py report.db "today: 42"

No lease can protect a write from its own writer: between a look at the lock and the write, the
process, or its whole machine, may be suspended for as long as another run needs to start and to
write. So the resource compares. The comparison and the write are one statement, which the database
does as a whole; that is all there is to it, in any database:

    UPDATE pages SET body = :body, token = :token WHERE name = :name AND token <= :token

If no row was changed, a newer run has written since: end, and write nothing more anywhere.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing

TABLE = "CREATE TABLE IF NOT EXISTS pages(name TEXT PRIMARY KEY, body TEXT, token INTEGER NOT NULL)"
WRITE = """
    INSERT INTO pages VALUES(:name, :body, :token)
    ON CONFLICT(name) DO UPDATE SET body = excluded.body, token = excluded.token
    WHERE token <= excluded.token
"""


class Stale(Exception):
    """A run with a higher token has written there: ours has lost its lock."""


def write(path: str, name: str, body: str, token: int) -> None:
    """Write a page with the token of the run that does. Raises: Stale; then nothing was written."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(TABLE)
        if db.execute(WRITE, {"name": name, "body": body, "token": token}).rowcount == 0:
            (seen,) = db.execute("SELECT token FROM pages WHERE name = ?", (name,)).fetchone()
            raise Stale(f"{name}: the token {token} is stale: {seen} has written since")


def main() -> int:
    """Write what the command line says, as the run that this is in."""
    if len(sys.argv) != 3 or not os.environ.get("CRONGUARD_TOKEN", "").isdigit():
        print("usage: cronguard run --name JOB -- fenced_writer.py FILE TEXT", file=sys.stderr)
        return 2
    try:
        write(sys.argv[1], "report", sys.argv[2], int(os.environ["CRONGUARD_TOKEN"]))
    except Stale as error:
        print(f"fenced_writer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
