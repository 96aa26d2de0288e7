"""`cronguard version`: what to name in a report."""

from __future__ import annotations

import platform

import click

from cronguard import __version__
from cronguard.admin.output import say, say_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def command(*, as_json: bool) -> int:
    """Show the version of cronguard, of Python and of the kernel."""
    python, kernel = platform.python_version(), f"{platform.system()} {platform.release()}"
    if as_json:
        say_json({"version": __version__, "python": python, "kernel": kernel})
    else:
        say(f"cronguard {__version__} (Python {python}, {kernel})")
    return 0
