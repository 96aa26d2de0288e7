"""Where `--quiet` keeps the output until it is known whether anybody wants to see it.

In files without a name, which nobody can leave behind. Of more than MOST_BYTES the first half and
the last is kept; and some of the disk is left to others, as the store of this host may be on it.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from errno import ENOSPC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[int, bytes], bool]

MOST_BYTES = 16 << 30
_LEFT_BYTES = 64 << 20
"""So much of the disk is left to others, or a tenth of a small one."""
_READ_BYTES = 1 << 16
_HEAD_BYTES = 9
_NO_FOLDER = "there is no folder to keep it in"


class Spill:
    """The output so far: one file, or the first of several and the last two.

    `failed` why it cannot be kept any longer; empty while it can.
    """

    __slots__ = ("_folder", "_left_out", "_lock", "_most", "_parts", "_write", "failed")

    def __init__(self, folder: str | None, write: Write, most: int = MOST_BYTES) -> None:
        """Keep up to *most* bytes of it in *folder*; *write* it where it belongs in the end."""
        self._folder = folder
        self._write = write
        self._most = most
        self._lock = allocate_lock()
        self._left_out = 0
        self._parts: list[Part] = []
        self.failed = ""
        try:
            self._parts.append(Part(folder))
        except OSError as error:
            self.failed = str(error.strerror)

    def add(self, target: int, data: bytes) -> None:
        """Keep *data*; when that fails, show everything so far and go on in the open."""
        with self._lock:
            if not self.failed:
                try:
                    self._part().add(target, data)
                    return
                except OSError as error:
                    self.failed = str(error.strerror).lower()
                    self._replay()
            self._write(target, data)

    def _part(self) -> Part:
        """Return what to write to: half of all in the first one, a quarter in each other."""
        part = self._parts[-1]
        if part.size < self._most // (2 if len(self._parts) == 1 else 4):
            return part
        self._parts.append(Part(self._folder))
        if len(self._parts) > 3:
            old = self._parts.pop(1)
            self._left_out += old.size
            old.close()
        return self._parts[-1]

    def show(self) -> None:
        """Write everything where it belongs, once."""
        with self._lock:
            if not self.failed:
                self._replay()

    def _replay(self) -> None:
        """Write all parts where they belong, and give their space back."""
        left_out = self._left_out
        while self._parts:
            part = self._parts.pop(0)
            part.show(self._write)
            part.close()
            if left_out:
                note = f"\n[... {left_out} bytes not kept (--quiet) ...]\n"
                self._write(part.target, note.encode())
                left_out = 0


class Part:
    """A file that is a row of frames: which stream and how many bytes, then these.

    A head is written when its frame ends, so that nothing grows here however much output there is.
    `size` how much of the output it has · `target` whose was the last of it.
    """

    __slots__ = ("_at", "_file", "_length", "size", "target")

    def __init__(self, folder: str | None) -> None:
        """Raises: OSError."""
        self._at = 0
        self._length = 0
        self.target = 0
        self.size = 0
        self._file = _unnamed_file(folder)

    def add(self, target: int, data: bytes) -> None:
        """Note *data*; the frame has its full length only when all of it is there. Raises: OSError.

        Of a disk that is nearly full it takes nothing, as if there was no room.
        """
        disk = os.fstatvfs(self._file)
        left = min(_LEFT_BYTES, disk.f_blocks * disk.f_frsize // 10)
        if disk.f_bavail * disk.f_frsize < left + len(data):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        if target != self.target:
            self._end_frame()
            self.target = target
        begin = self._at + _HEAD_BYTES + self._length
        done = 0
        while done < len(data):
            done += os.pwrite(self._file, data[done:], begin + done)
        self._length += done
        self.size += done

    def _end_frame(self) -> None:
        if self._length:
            head = self.target.to_bytes(1, "big") + self._length.to_bytes(8, "big")
            os.pwrite(self._file, head, self._at)
            self._at += _HEAD_BYTES + self._length
            self._length = 0

    def show(self, write: Write) -> None:
        """Write the frames where they belong."""
        at = 0
        while at < self._at:
            head = os.pread(self._file, _HEAD_BYTES, at)
            length = int.from_bytes(head[1:], "big")
            self._copy(write, head[0], at + _HEAD_BYTES, length)
            at += _HEAD_BYTES + length
        self._copy(write, self.target, self._at + _HEAD_BYTES, self._length)

    def _copy(self, write: Write, target: int, at: int, length: int) -> None:
        while length:
            data = os.pread(self._file, min(length, _READ_BYTES), at)
            if not data:
                return
            at += len(data)
            length -= len(data)
            write(target, data)

    def close(self) -> None:
        """Give its space back."""
        os.ftruncate(self._file, 0)  # the guardian holds the first one, too
        os.close(self._file)


def _unnamed_file(folder: str | None) -> int:
    """Open a file that has no name, in the state folder or where temporary files go.

    Raises: OSError.
    """
    for place in (folder, os.environ.get("TMPDIR"), "/tmp", "/dev/shm"):  # noqa: S108
        if not place:
            continue
        try:
            return os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            continue
    raise OSError(ENOSPC, _NO_FOLDER)
