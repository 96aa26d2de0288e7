"""The first configuration file: every option explained and commented out, written once."""

from __future__ import annotations

import os

import tomli_w

from cronguard.config import options as opt
from cronguard.config.options import OPTIONS, ConfigError
from cronguard.config.store import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.config.options import Option

_HEAD = """\
# cronguard: what holds for all jobs on this host, and for single ones.
#
# A flag is stronger than a CRONGUARD_ variable, that is stronger than the job's own section here,
# and that is stronger than [defaults]. `cronguard config show JOB` says where each value comes
# from, `cronguard config check` what is wrong.
"""
_JOB = """
# One job. With a command here, `cronguard run --name backup` is all that cron needs to say.
# [jobs.backup]
# command = ["/opt/backup/bin/backup", "--all"]   # or one text for the shell: "dump | gzip > x"
# timeout = "2h"
# wait = "10m"
"""


def text(store: str | None, namespace: str | None) -> str:
    """Return the file: *store* and *namespace* as data, all else as comments."""
    data = {"store": store, "namespace": namespace}
    given = {key: value for key, value in data.items() if value is not None}
    if store is not None:
        check(store, "--store")
    if namespace is not None:
        try:
            opt.NAMESPACE.read(namespace)
        except ValueError as error:
            raise ConfigError(f"--namespace: {error}") from None
    rest = [_comment(option) for option in OPTIONS if option.in_files and option.name not in given]
    return _HEAD + "\n" + tomli_w.dumps({"defaults": given}) + "\n" + "\n".join(rest) + "\n" + _JOB


def _comment(option: Option) -> str:
    examples = {"store": "redis://10.0.0.5:6379/0", "skip_exit_code": "0"}
    value = examples.get(option.name, option.default)
    if option.metavar == "PATH":
        value = f"/etc/cronguard/{option.name.removesuffix('_file')}"
    shown = value if option.is_switch or value.isdecimal() else f'"{value}"'
    return f"# {option.help}\n# {option.name} = {shown}"


def make_folder(path: str, *, is_usual: bool) -> None:
    """Make the folder for *path*; of a place that was typed, no more than the last one."""
    folder = os.path.dirname(os.path.abspath(path))
    if is_usual:
        os.makedirs(folder, 0o755, exist_ok=True)
    elif not os.path.isdir(folder):
        os.mkdir(folder, 0o755)


def write(path: str, content: str) -> None:
    """Create the file, for its owner alone, as a store may hold a password. Raises: OSError."""
    number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with open(number, "w", encoding="utf-8") as file:
        file.write(content)
