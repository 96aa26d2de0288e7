"""SQLite's C core, without what it drags along.

`_sqlite3` asks `functools` for one name, `lru_cache`, to keep its prepared statements, and with it
come `collections` and nine other modules: 2.2 of the 3.0 ms that importing it took. `functools`
itself only wraps `_functools._lru_cache_wrapper`, so that is what `_sqlite3` is shown while it is
being loaded. Where functools is there already, or this C core is another one, nothing is done.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _sqlite3 import Connection, Error, connect, sqlite_version
    from collections.abc import Callable
else:
    _HIDDEN = "functools" not in sys.modules
    if _HIDDEN:
        try:
            from _functools import _lru_cache_wrapper
        except ImportError:
            _HIDDEN = False

    def _lru_cache(maxsize: int) -> Callable[[object], object]:
        return lambda function: _lru_cache_wrapper(function, maxsize, False, tuple)

    if _HIDDEN:
        sys.modules["functools"] = type(sys)("functools")
        sys.modules["functools"].lru_cache = _lru_cache
    try:
        from _sqlite3 import Connection, Error, connect, sqlite_version
    finally:
        if _HIDDEN:
            del sys.modules["functools"]

__all__ = ["Connection", "Error", "connect", "sqlite_version"]
