"""Where the commands' words go: answers to stdout, what went wrong to stderr."""

from __future__ import annotations

import json
import sys

import click

from cronguard.admin.render import aligned


def say(text: str) -> None:
    """Print *text* and a newline."""
    click.echo(text)


def say_error(text: str, status: int) -> int:
    """Print `cronguard: text` to stderr; return *status*."""
    click.echo(f"cronguard: {text}", err=True)
    return status


def say_json(value: object) -> None:
    """Print one JSON document, in ASCII: no terminal obeys it."""
    click.echo(json.dumps(value, indent=2))


def say_table(columns: list[str], rows: list[list[str]], empty: str) -> None:
    """Print a table: drawn by rich for people at a terminal, plain and aligned for all else.

    The cells are printable already; rich gets them as text, so that no markup in them counts.
    """
    if not rows:
        say(empty)
    elif sys.stdout.isatty():
        _draw(columns, rows)
    else:
        say(aligned(columns, rows))


def _draw(columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - 60 ms, for terminals alone
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    Console(highlight=False).print(table)
