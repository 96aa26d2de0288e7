"""Where things are on this host: the state folder and the configuration files. Reads no file.

systemd's $STATE_DIRECTORY is not used: it differs from unit to unit, and two units that run one
job would each have a lock of their own. CRONGUARD_STATE_DIR says it for all that should meet.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_STATE = "/var/lib/cronguard"
SYSTEM_CONFIG = "/etc/cronguard/cronguard.toml"


def state_folder(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the folder of the embedded store and of spooled records, or None if unknown.

    Raises: ValueError if CRONGUARD_STATE_DIR is not absolute.
    """
    env = os.environ if environ is None else environ
    given = env.get("CRONGUARD_STATE_DIR", "")
    if given:
        if given[0] != "/":
            raise ValueError("CRONGUARD_STATE_DIR is not absolute; write it from the root, as /srv")
        return given.rstrip("/") or "/"
    if os.geteuid() == 0:
        return SYSTEM_STATE
    return _below(env, "XDG_STATE_HOME", ".local/state")


def config_files(environ: Mapping[str, str]) -> list[str]:
    """Return where configuration files may be; later ones override earlier ones."""
    own = _below(environ, "XDG_CONFIG_HOME", ".config")
    return [SYSTEM_CONFIG, own + "/cronguard.toml"] if own else [SYSTEM_CONFIG]


def _below(environ: Mapping[str, str], variable: str, usual: str) -> str | None:
    """Return our folder below an XDG one, which counts only if it is absolute."""
    base = environ.get(variable, "")
    if base[:1] == "/":
        return base.rstrip("/") + "/cronguard"
    home = _home(environ)
    return None if home is None else f"{home}/{usual}/cronguard"


def _home(environ: Mapping[str, str]) -> str | None:
    """Return the user's home: HOME, else what /etc/passwd says."""
    home = environ.get("HOME", "")
    if home[:1] != "/":
        import pwd  # noqa: PLC0415 - rarely needed

        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            return None
    return home.rstrip("/") if home[:1] == "/" else None
