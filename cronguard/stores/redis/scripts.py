"""The job's scripts by name: their SHA1, so that a run need not even open the files.

A script's text is read only for a server that does not know it yet. A test keeps the SHA1s true.
"""

from __future__ import annotations

COMMON = "left_behind"
STANDALONE = frozenset(("renew",))
SHA1 = {
    "acquire": "9055f2aad872dcd57c20dc3db45f4b0dc17d5004",
    "renew": "132e9b238580cbf5e27c9de11be40a30e56eccb2",
    "reclaim": "360c341cb45270cba26b915e6b3f53f4d8dedc7f",
    "close": "47ed72f05427dd901a848316048673af19dc1cef",
    "sweep": "2945ad305474d15a2f0c052d3272f8fc73249481",
    "overview": "adc676bc373d7cd9034b445c592901e25d6d5224",
    "stop": "f141b9eca3927a417ba8c4b8d5adc10cf0a7db64",
    "unlock": "786c5e9e62bf5fdd30eae58c85bc75fe0b2c467e",
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
