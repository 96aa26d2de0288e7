"""What of the output makes a run count as failed: `--fail-on-output` and `--fail-on-stderr`."""

from __future__ import annotations

import os

from cronguard.core import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.core.spec import JobSpec
    from cronguard.runtime.searching import Search


class Criteria:
    """Listens to what the command says; each attempt is judged by itself."""

    def __init__(self, spec: JobSpec, secrets: tuple[str, ...] = ()) -> None:
        """Take what is asked for; nothing is started before a command is.

        *secrets* is what is not to be told, beside what the command is given.
        """
        self._spec = spec
        self._secrets = secrets
        self._wants_stderr = spec.fail_on_stderr
        self._patterns = spec.fail_on_output
        self._tells_line = spec.tail_bytes > 0  # or none of the output is to be kept
        self._search: Search | None = None
        self._has_said = False
        self._trouble = ""

    def begin(self) -> None:
        """Begin an attempt, and forget the one before."""
        self._has_said = False
        self._trouble = ""
        if self._search is not None:
            self._search.begin()
        if self._patterns and (self._search is None or self._search.trouble):
            self._start()

    def _start(self) -> None:
        """Start who searches, anew where the one before could not go on."""
        from cronguard.runtime.searching import Search  # noqa: PLC0415  (only when asked for)

        self.close()
        secrets = self._secrets + redact.known(os.environ.items(), self._spec.command)
        try:
            self._search = Search(
                self._patterns, secrets, self._spec.redact, tells_line=self._tells_line
            )
        except (OSError, ValueError) as error:
            why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            self._trouble = f"its output could not be searched: {why} (--fail-on-output)"

    def saw(self, stream: int, data: bytes, until: int | None = None) -> None:
        """Take in what the command wrote to its stdout (1) or stderr (2); see `Search.add`."""
        self._has_said = self._has_said or stream == 2
        search = self._search  # the loop may exchange it meanwhile
        if search is not None:
            search.add(stream, data, until)

    def fault(self, until: int, *, is_all: bool) -> str:
        """Say what is at fault with the output of this attempt; *is_all*: we have heard it all.

        Who searches may take *until* then.
        """
        if self._wants_stderr and self._has_said:
            return "it wrote to stderr (--fail-on-stderr)"
        found = self._search.answer(until) if self._search is not None else self._trouble
        if found or is_all:
            return found
        return "its output could not be looked at to its end, as nobody takes it from us"

    def close(self) -> None:
        """Let go of who searches."""
        search, self._search = self._search, None
        if search is not None:
            search.close()
