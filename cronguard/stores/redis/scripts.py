"""The job's scripts by name: their SHA1, so that a run need not even open the files.

A script's text is read only for a server that does not know it yet. A test keeps the SHA1s true.
"""

from __future__ import annotations

COMMON = "left_behind"
STANDALONE = frozenset(("fence", "look", "recent", "renew", "uproot"))
SHA1 = {
    "acquire": "b501f3b3543dbe26f0ab27267cd797909e7ea9e5",
    "renew": "132e9b238580cbf5e27c9de11be40a30e56eccb2",
    "reclaim": "be2e21fb94e357d946de82cf742634290478765a",
    "close": "266e4454b27827697d7d1d85d7e9b34a35d03ac9",
    "sweep": "59ec89597820aec61b7ba74b54a5dd3bebc09e0a",
    "overview": "8ae77a7369c7369769cbce80092ef64d496e3a36",
    "recent": "6743747d37032cde4338b4195cd56218aae05e7d",
    "stop": "c1b8edee779e7ff65f13278dd568b07e8cb391db",
    "prune": "80b2cb0d8c644c5f5781450e832973314009b3dc",
    "reset": "19b739c739779343aed728045b085de91657e51a",
    "look": "c6b2952df32727baad0ccd13570a3e76bf4a07d3",
    "uproot": "1c74c64b3fd491a28cdf6a0c2cbaf27f403fcc5a",
    "bound": "7aab11590d29a447297f53c4bcc4e5e0eb75da07",
    "fence": "bae6bda3933f45dd414b22696804b51d276c7fa7",
    "unlock": "5e5ee2febd09b566aa6bbb929da789e540c512b9",
}


def source(name: str) -> bytes:
    """Return the text of a script, as the server is to run it."""
    folder = f"{__file__.rpartition('/')[0]}/scripts"
    parts = [name] if name in STANDALONE else [COMMON, name]
    text = b""
    for part in parts:
        with open(f"{folder}/{part}.lua", "rb") as file:
            text += file.read()
    return text
