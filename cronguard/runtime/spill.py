"""Where `--quiet` keeps the output until it is known whether anybody wants to see it."""

from __future__ import annotations

import os
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_READ_BYTES = 1 << 16
_HEAD_BYTES = 9


class Spill:
    """A file that is a row of frames: which stream and how many bytes, then these.

    A head is written when its frame ends, so that nothing grows here however much output there is.
    """

    __slots__ = ("_at", "_file", "_length", "_lock", "_target", "_write", "failed")

    def __init__(self, folder: str | None, write: Callable[[int, bytes], bool]) -> None:
        """Keep it in *folder*; *write* it where it belongs in the end."""
        self._write = write
        self._lock = allocate_lock()
        self._at = 0
        self._target = 0
        self._length = 0
        self._file = _unnamed_file(folder)
        self.failed = "" if self._file >= 0 else "there is no folder to keep it in"

    def add(self, target: int, data: bytes) -> None:
        """Keep *data*; when that fails, show everything so far and go on in the open."""
        with self._lock:
            if not self.failed:
                try:
                    self._keep(target, data)
                    return
                except OSError as error:
                    self.failed = os.strerror(error.errno or 0).lower()
                    self._replay()
            self._write(target, data)

    def _keep(self, target: int, data: bytes) -> None:
        """Note *data*; the frame has its full length only when all of it is there."""
        if target != self._target:
            self._end_frame()
            self._target = target
        begin = self._at + _HEAD_BYTES + self._length
        done = 0
        while done < len(data):
            done += os.pwrite(self._file, data[done:], begin + done)
        self._length += done

    def _end_frame(self) -> None:
        if self._length:
            head = self._target.to_bytes(1, "big") + self._length.to_bytes(8, "big")
            os.pwrite(self._file, head, self._at)
            self._at += _HEAD_BYTES + self._length
            self._length = 0

    def show(self) -> None:
        """Write everything where it belongs, once."""
        with self._lock:
            if not self.failed:
                self._replay()

    def _replay(self) -> None:
        """Write the frames where they belong, and give their space back."""
        if self._file < 0:
            return
        end, at = self._at, 0
        while at < end:
            head = os.pread(self._file, _HEAD_BYTES, at)
            length = int.from_bytes(head[1:], "big")
            self._copy(head[0], at + _HEAD_BYTES, length)
            at += _HEAD_BYTES + length
        self._copy(self._target, end + _HEAD_BYTES, self._length)
        os.ftruncate(self._file, 0)  # the guardian holds the file too
        os.close(self._file)
        self._file = -1

    def _copy(self, target: int, at: int, length: int) -> None:
        while length:
            data = os.pread(self._file, min(length, _READ_BYTES), at)
            if not data:
                return
            at += len(data)
            length -= len(data)
            self._write(target, data)


def _unnamed_file(folder: str | None) -> int:
    """Open a file that has no name, in the state folder or where temporary files go; -1 if none."""
    for place in (folder, os.environ.get("TMPDIR"), "/tmp", "/dev/shm"):  # noqa: S108
        if not place:
            continue
        try:
            return os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            continue
    return -1
