"""The last word of `cronguard run` when it fails by its own fault."""

from __future__ import annotations

import pytest

from cronguard.config.resolve import from_argv
from cronguard.runtime.main import explain_bug

CANARY = "c4n4ry-s3cr3t"


def fail(store: str) -> None:
    """Raise what a careless line of ours might."""
    raise RuntimeError(f"cannot parse {store} with {CANARY!r}")


@pytest.mark.parametrize("debug", [False, True])
def test_s2_an_error_of_our_own_never_shows_the_password(debug: bool) -> None:
    """S2: neither the message, nor with --debug the traceback, has the store's password."""
    store = f"redis://someone:{CANARY}@127.0.0.1:6379/0"
    argv = ["-n", "job", *(["--debug"] if debug else []), "--", "true"]
    resolved = from_argv(argv, {"CRONGUARD_STORE": store, "HOME": "/nonexistent"})
    assert CANARY in resolved.spec.store
    with pytest.raises(RuntimeError) as failure:
        fail(store)
    said = explain_bug(failure.value, resolved)
    assert CANARY not in said
    assert "internal error: RuntimeError" in said
    assert ("Traceback" in said) == debug
