"""Which store a run uses: the URL, from what was said and where. Knows no store, opens nothing.

The strongest first: --store, CRONGUARD_STORE (or CRONGUARD_STORE_FILE), the job's section,
`[defaults]`, REDIS_URL, REDIS_HOST with REDIS_PORT and REDIS_PASSWORD, SQLite in the state folder.
The REDIS_ variables come after the files because they are meant for the job, not for us: where
nobody told cronguard anything, the job's own Redis is a good guess, and no more than that.

Several URLs with spaces between are one store: a quorum of independent servers.

URLs are taken apart by hand: `urllib.parse` costs 8 ms at start, and a password that was not
percent-encoded must still be found, to be masked.
"""

from __future__ import annotations

from cronguard.config.options import STORE, ConfigError
from cronguard.config.paths import state_folder
from cronguard.config.values import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

REDIS_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_MASK = "***"
_KNOWN = (
    "write redis://HOST:6379/0, rediss://..., unix:///path/to/socket, "
    "redis+sentinel://HOST1,HOST2/MASTER/0, redis+cluster://HOST1,HOST2 or sqlite:///path/to/file"
)


def words(store: str) -> list[str]:
    """Return the URLs that *store* is made of; more than one is a quorum."""
    if store.startswith("sqlite://") and "://" not in store[9:]:
        return [store]  # its path may have spaces
    return [word for word in store.split(" ") if word] or [store]


def mask(text: str) -> str:
    """Return *text* with the password of each URL in it replaced by `***`."""
    return " ".join([_mask_word(word) for word in text.split(" ")]) if "://" in text else text


def _mask_word(word: str) -> str:
    scheme, mark, rest = word.partition("://")
    if not mark:
        return word
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    if at and colon:
        rest = f"{user}:{_MASK}@{place}"
    before, query, after = rest.partition("password=")
    if query:
        _, ampersand, others = after.partition("&")
        rest = before + query + _MASK + ampersand + others
    return scheme + mark + rest


def has_password(url: str) -> bool:
    """Tell whether *url* carries a password."""
    return mask(url) != url


def secrets_of(url: str) -> tuple[str, ...]:
    """Return each password in *url* as it stands there, and as it is without %XX."""
    if not has_password(url):
        return ()
    found: list[str] = []
    for word in words(url):
        rest = word.partition("://")[2]
        found += _spellings(rest.rpartition("@")[0].partition(":")[2])
        found += _spellings(rest.partition("password=")[2].partition("&")[0])
    return tuple(dict.fromkeys(found))


def _spellings(found: str) -> tuple[str, ...]:
    if "%" not in found:
        return (found,) if found else ()
    first, *parts = found.split("%")
    raw = first.encode("utf-8", "surrogateescape")
    for part in parts:
        try:
            raw += bytes.fromhex(part[:2]) + part[2:].encode("utf-8", "surrogateescape")
        except ValueError:
            return (found,)
    return found, raw.decode("utf-8", "replace")


def with_password(url: str, password: str) -> str:
    """Return a Redis *url* with this password, unless it has one already."""
    if len(words(url)) > 1:
        return " ".join([with_password(word, password) for word in words(url)])
    scheme, _, rest = url.partition("://")
    if scheme not in REDIS_SCHEMES or has_password(url):
        return url
    user, at, place = rest.rpartition("@")
    return f"{scheme}://{user}:{_encoded(password)}@{place if at else rest}"


def _encoded(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    return "".join([chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in raw])


def check(url: str, source: str) -> None:
    """Refuse a *url* that no store here understands. Raises: ConfigError."""
    if len(words(url)) > 1:
        for word in words(url):
            check(word, source)
            if word.startswith("sqlite://"):
                raise ConfigError(
                    f"{source}: a quorum is made of independent Redis servers; {mask(word)!a} is a "
                    "file "
                    "on this host: leave it out, or name it alone"
                )
        return
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in (*REDIS_SCHEMES, "sqlite"):
        what = ascii(mask(url)) if mark else "this"
        raise ConfigError(f"{source}: {what} is not the URL of a store; {_KNOWN}")
    place = rest.rpartition("@")[2]
    if scheme == "sqlite" and (rest[:1] != "/" or rest[-1] == "/"):
        raise ConfigError(
            f"{source}: {mask(url)!a} has no absolute path; write sqlite:///path/to/file"
        )
    if scheme == "unix" and place[:1] != "/":
        raise ConfigError(
            f"{source}: {mask(url)!a} has no absolute path; write unix:///path/to/socket"
        )
    if not place or not url.isprintable():
        raise ConfigError(f"{source}: {mask(url)!a} is not the URL of a store; {_KNOWN}")


def from_flags(urls: list[str]) -> str:
    """Return the URLs given with --store. Raises: ConfigError, for a password above all."""
    store = " ".join(urls)
    if has_password(store):
        raise ConfigError(
            f"--store holds a password ({mask(store)!a}), which everybody on this host can "
            f"see in `ps`; put the URL in {STORE.variable} or in a file named by store_file / "
            "CRONGUARD_STORE_FILE, or the password alone in one named by password_file / "
            "CRONGUARD_PASSWORD_FILE"
        )
    return store


def guessed(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return (URL, source) of the store where nobody named one. Raises: ConfigError."""
    if url := environ.get("REDIS_URL", ""):
        return url, "REDIS_URL"
    if host := environ.get("REDIS_HOST", ""):
        return _from_parts(host, environ), "REDIS_HOST"
    state = folder(environ)
    if state is None:
        raise ConfigError(
            "no store: none is configured, and this user has no home for a local one; set --store "
            f"/ {STORE.variable}, or CRONGUARD_STATE_DIR to a folder that outlives a reboot"
        )
    return f"sqlite://{state}/cronguard.db", "default"


def folder(environ: Mapping[str, str]) -> str | None:
    """Return the state folder. Raises: ConfigError."""
    try:
        return state_folder(environ)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _from_parts(host: str, environ: Mapping[str, str]) -> str:
    """Build the URL that REDIS_HOST, REDIS_PORT and REDIS_PASSWORD mean.

    Container links set REDIS_PORT to `tcp://10.0.0.1:6379`: the number at its end counts.
    """
    if "/" in host or "@" in host:
        raise ConfigError(  # not shown: where there is an @, there may be a password
            "REDIS_HOST: its value is not a host; write a name or an address, or put the URL in "
            "REDIS_URL"
        )
    given = environ.get("REDIS_PORT", "")
    port = given.rpartition(":")[2] or "6379"
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65_536):
        raise ConfigError(f"REDIS_PORT: {shown(given)} is not a port; write 1 to 65535")
    address = f"[{host}]" if ":" in host and host[0] != "[" else host
    url = f"redis://{address}:{port}/0"
    password = environ.get("REDIS_PASSWORD", "")
    return with_password(url, password) if password else url
