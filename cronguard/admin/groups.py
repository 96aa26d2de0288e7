"""A click group that says which command was probably meant."""

from __future__ import annotations

from difflib import get_close_matches

import click

from cronguard.core.words import printable


class Group(click.Group):
    """A group whose unknown commands are refused with those that are near."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or refuse it. Raises: click.UsageError."""
        word = args[0]
        if word[:1] != "-" and self.get_command(ctx, word) is None:
            near = get_close_matches(word, self.list_commands(ctx), 2, cutoff=0.7)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            shown = printable(word, 60)
            raise click.UsageError(f"there is no command `{ctx.command_path} {shown}`{hint}", ctx)
        return super().resolve_command(ctx, args)
