"""The state folder and the database file are ours alone, on a disk of this host, or are refused.

SQLite opens by name and follows links, so what stands at the name is looked at first: that is safe
where nobody else can change the folder, which is what is checked. Never open(2) the database file
itself once it may be in use: closing any descriptor of a file drops all POSIX locks that this
process has on it, SQLite's too.

Modes are set with chmod after creation, as the umask may take bits away; the umask itself belongs
to the child and is never touched. SQLite gives `-wal` and `-shm` the mode of the database.
"""

from __future__ import annotations

import os
from _stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG, S_ISVTX

from cronguard.stores.contract import StoreDown, StoreRefused

SCHEME = "sqlite://"
COMPANIONS = ("-wal", "-shm", "-journal")
# Kernels that share these files do not share locks and memory the way SQLite's log needs it; and
# leases count on the boot id, of which two guests that share a folder have one each.
_REMOTE = (
    " 9p acfs afs beegfs ceph cifs coda davfs exafs fuse.beegfs fuse.ceph fuse.cephfs fuse.davfs"
    " fuse.davfs2 fuse.gcsfuse fuse.glusterfs fuse.goofys fuse.juicefs fuse.moosefs"
    " fuse.mount.ceph fuse.rclone fuse.s3fs fuse.sshfs fuse.vmhgfs-fuse glusterfs gpfs lustre"
    " ncpfs nfs nfs4 orangefs panfs prl_fs pvfs2 smb2 smb3 smbfs vboxsf virtiofs vmhgfs "
)


def path_of(url: str) -> str:
    """Return the database file that `sqlite:///abs/path` names.

    Raises: ValueError if there is no absolute path in it.
    """
    path = url[len(SCHEME) :]
    if not url.startswith(SCHEME) or path[:1] != "/" or path.endswith("/") or "\0" in path:
        raise ValueError("a SQLite store is named by the absolute path of a file: sqlite:///path")
    return path


def prepare(path: str) -> bool:
    """Make folder and file if there are none, and check both; return True if the file is new.

    Raises: StoreRefused for what only a person can change, StoreDown for what may pass.
    """
    folder = os.path.dirname(path)
    try:
        _check_folder(folder)
        is_new = _check_file(path)
        for suffix in COMPANIONS:
            _check_companion(path + suffix)
    except OSError as error:
        raise fault_of(error, path) from None
    return is_new


def _check_folder(folder: str) -> None:
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        _make_folder(folder)
        found = os.lstat(folder)
    mode = S_IMODE(found.st_mode)
    if S_ISLNK(found.st_mode):
        raise StoreRefused(f"{folder} is a symbolic link; name the folder that it points to")
    if not S_ISDIR(found.st_mode):
        raise StoreRefused(f"{folder} is not a folder; choose another path")
    if found.st_uid not in (os.geteuid(), 0):
        raise StoreRefused(
            f"{folder} belongs to uid {found.st_uid}, who could put another file there; "
            "choose a folder of your own"
        )
    # A group of the user's own (gid = uid) is nobody else. Sticky: others cannot touch our files.
    others = 0o002 if found.st_gid == found.st_uid else 0o022
    if mode & others and not mode & S_ISVTX:
        raise StoreRefused(f"others can write to {folder} (mode {mode:04o}); chmod 700 {folder}")
    if os.major(found.st_dev) == 0:  # no block device: in memory, stacked, or remote
        kind = file_system(folder, found.st_dev)
        if kind and f" {kind} " in _REMOTE:
            raise StoreRefused(
                f"{folder} is on {kind}, a file system of another host, where SQLite cannot "
                "lock; choose a folder on a disk of this host, or a redis:// store"
            )


def _make_folder(folder: str) -> None:
    parent = os.path.dirname(folder)
    if parent != folder and not os.path.isdir(parent):
        _make_folder(parent)
    try:
        os.mkdir(folder, 0o700)
        os.chmod(folder, 0o700)
    except FileExistsError:  # another run was faster
        pass


def _check_file(path: str) -> bool:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(path, flags, 0o600)
        except FileExistsError:
            found = os.lstat(path)
        else:
            try:
                os.fchmod(fd, 0o600)
            finally:
                os.close(fd)
            return True
    _check_ours(path, found)
    return found.st_size == 0


def _check_companion(path: str) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    _check_ours(path, found)


def _check_ours(path: str, found: os.stat_result) -> None:
    if S_ISLNK(found.st_mode):
        raise StoreRefused(f"{path} is a symbolic link; remove it, or name what it points to")
    if not S_ISREG(found.st_mode):
        raise StoreRefused(f"{path} is not a regular file; choose another path")
    if found.st_uid not in (os.geteuid(), 0):
        raise StoreRefused(f"{path} belongs to uid {found.st_uid}; choose a file of your own")
    if S_IMODE(found.st_mode) != 0o600 and found.st_uid == os.geteuid():
        try:
            os.chmod(path, 0o600)
        except FileNotFoundError:  # the last user of the database took it away just now
            pass


def file_system(folder: str, device: int) -> str:
    """Return the type of the file system that *folder* is on, or an empty string if unknown."""
    try:
        with open("/proc/self/mountinfo", "rb") as lines:
            mounts = [line.split() for line in lines]
    except OSError:
        return ""
    number = b"%d:%d" % (os.major(device), os.minor(device))
    place = os.fsencode(os.path.realpath(folder)) + b"/"
    best, kind = b"", b""
    for fields in mounts:
        point = fields[4].replace(b"\\040", b" ").rstrip(b"/") + b"/"
        same = fields[2] == number
        if place.startswith(point) and len(point) >= len(best):
            best, kind = point, fields[fields.index(b"-") + 1]
        if same:
            return os.fsdecode(fields[fields.index(b"-") + 1])
    return os.fsdecode(kind)


def fault_of(error: OSError, path: str) -> StoreDown:
    """Say what the kernel refused, and what to do; StoreRefused if it will not pass by itself."""
    what = error.filename if isinstance(error.filename, str) else path
    why = (error.strerror or "error").lower()
    if isinstance(error, PermissionError):
        return StoreRefused(f"{what}: {why}; choose another path with --store / CRONGUARD_STORE")
    text = f"{what}: {why}"
    if error.errno == 30:  # EROFS
        return StoreRefused(
            f"{text}; choose a writable path with --store / CRONGUARD_STORE / CRONGUARD_STATE_DIR"
        )
    if error.errno in (20, 36, 40):  # ENOTDIR, ENAMETOOLONG, ELOOP
        return StoreRefused(f"{text}; choose another path")
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return StoreDown(f"{text}; free some space there")
    return StoreDown(text)
