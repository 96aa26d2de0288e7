"""The job's scripts by name: their SHA1, so that a run need not even open the files.

A script's text is read only for a server that does not know it yet. A test keeps the SHA1s true.
"""

from __future__ import annotations

COMMON = "left_behind"
STANDALONE = frozenset(("fence", "look", "recent", "renew", "uproot"))
SHA1 = {
    "acquire": "6730a61866648135f423089ec5be80260135b393",
    "renew": "132e9b238580cbf5e27c9de11be40a30e56eccb2",
    "reclaim": "518f232d9182b9064aa18bd91bbab08f1b7b583c",
    "close": "8b4f81be6f5d798bf45a75153a03444a2533efbf",
    "sweep": "28e4eab2d62ce9e984fde1b550ad9eb843bff6cd",
    "overview": "d24766a427c1c2e77dca39b663d8f499337bdccd",
    "recent": "6743747d37032cde4338b4195cd56218aae05e7d",
    "stop": "655ccdc7b4670901143558d0edf4677f41ca341c",
    "prune": "bd577e245885a72cae30fad11f35c9b26ac9ea28",
    "reset": "02633f7be4a4d87d54361422ff8fef20604bdc35",
    "look": "c6b2952df32727baad0ccd13570a3e76bf4a07d3",
    "uproot": "1c74c64b3fd491a28cdf6a0c2cbaf27f403fcc5a",
    "bound": "35e0e25bbd88fe3a6e46a3f1868d8aec36a457b4",
    "fence": "bae6bda3933f45dd414b22696804b51d276c7fa7",
    "unlock": "665edb6e5db4f1ebe2e2e1e13c7c0dc3a300fe20",
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
