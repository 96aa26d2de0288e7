r"""The corpus: one file an input that is nasty, or that once found a bug, replayed by `make test`.

    corpus/resp/      bytes of a server, for the parser of replies
    corpus/server/    bytes of a server in place of all its answers, for a whole run
    corpus/records/   what a reader may find as a record (JSON, or not)
    corpus/outbox/    what may lie in the place of a kept record
    corpus/toml/      configuration files
    corpus/urls/      URLs of stores
    corpus/argv/      command lines, one word a line

To add one: put the bytes in a file there, named for what they are. When `make fuzz` finds something
it prints `Falsifying example: ...` with the input as Python writes it:

    python3 -c 'open("tests/fuzz/corpus/resp/push-of-nothing", "wb").write(b">0\\r\\n")'

Hypothesis keeps a database of its own (.hypothesis), which is a cache and is not the corpus.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

FOLDER = Path(__file__).parent / "corpus"
MANY = int(os.environ.get("CRONGUARD_FUZZ", "0"))
"""How many examples each test takes; 0 in `make test`, which takes few and always the same."""


def replayed(target: str) -> pytest.MarkDecorator:
    """Give a test every input that is kept for *target*, as `kept`."""
    found = sorted(path for path in (FOLDER / target).iterdir() if path.is_file())
    assert found, target
    return pytest.mark.parametrize(
        "kept", [pytest.param(path.read_bytes(), id=path.name) for path in found]
    )


def fuzzed(few: int) -> settings:
    """Return how a test is to be fuzzed: by *few* examples, or as many as were asked for."""
    return settings(
        max_examples=MANY or few,
        derandomize=not MANY,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
