"""The job's scripts by name: their SHA1, so that a run need not even open the files.

A script's text is read only for a server that does not know it yet. A test keeps the SHA1s true.
"""

from __future__ import annotations

COMMON = "left_behind"
STANDALONE = frozenset(("renew",))
SHA1 = {
    "acquire": "26a57ba04452f7437b223174b6a4c7ba80ca64a2",
    "renew": "05187b828698ae91170c5421d9bb56173f0b0084",
    "reclaim": "8e343b9cba9eba87d985355f9bcc5e82a5250481",
    "close": "52cdcf0cbd480eb222a93ae95fc6630d94ae0795",
    "sweep": "36ed11c4d93ad9d513d03e74c966b4117319e197",
    "leases": "d8b41bd95dd9f7e576899f3d7b4263b4a78be022",
    "stop": "5fdaf725c5b18af85597f7fb1d5afc219f19b84c",
    "unlock": "87c598b7998dd12c8001c4a1f51703234c90ab73",
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
