"""What is no JSON is empty, also where Python's own reader of JSON is not loaded."""

from __future__ import annotations

import subprocess
import sys

from cronguard.core.decode import decode, readable
from tests.shape import source

_PROGRAM = """
import sys
from cronguard.core.decode import decode
assert decode('{"a":1}') == {"a": 1}
assert "json" not in sys.modules
for text in ("{", '{"a', '{"a":', '{"a":1', '{"a" 1}', "[1,", "", "x", "9" * 5000):
    assert decode(text) == {}, text
    assert "json" not in sys.modules or sys.version_info >= (3, 13)
"""


def test_a_run_reads_what_is_no_json() -> None:
    """A run does not load `json`, whose error the scanner then looks for in vain.

    From Python 3.13 on, the scanner loads it by itself, and only for an error.
    """
    argv = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(source.ROOT)!r})"]
    argv[-1] += _PROGRAM
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_what_is_no_object_is_no_record() -> None:
    """Any type that a store may return is taken, and only an object is a record."""
    for stored in (None, 1, b"\xff", "[1]", b"[1]", "null", '"x"', ["x"]):
        assert readable(stored) == {}
    assert readable(b'{"a":"\xff"}') == {"a": "\ufffd"}
    assert decode('{"a":1}') == readable('{"a":1}') == {"a": 1}
