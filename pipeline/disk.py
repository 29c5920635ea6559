"""Write files whole or not at all, and say in plain words when a disk is full."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkstemp

PARTIAL = ".partial"
"""How the name of a file ends while it is being written; it also starts with a dot."""

_FULL = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would pass the size limit set for this process or file system",
}


def readable(n_bytes: int) -> str:
    """Return a size as a person writes it: 999 -> `999 bytes`, 1_500_000 -> `1.5 MB`."""
    if n_bytes < 1000:
        return f"{n_bytes} bytes"
    size, units = n_bytes / 1000, iter(("kB", "MB", "GB"))
    unit = next(units)
    while size >= 999.95 and unit != "GB":
        size, unit = size / 1000, next(units)
    return f"{size:.1f} {unit}"


def free_bytes(folder: Path) -> int:
    """Return how much an unprivileged process may still write where `folder` is, or will be."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def require_free(folder: Path, n_bytes: int) -> None:
    """Refuse work that the disk cannot hold, before it starts.

    Args:
        folder: Where the work will write; need not exist yet.
        n_bytes: How much it will write.

    Raises:
        OSError: Less is free; `errno` is ENOSPC.
    """
    free = free_bytes(folder)
    if free < n_bytes:
        told = f"{folder}: {readable(n_bytes)} are needed and {readable(free)} are free"
        raise OSError(errno.ENOSPC, f"{told}; free some space or choose another folder")


@contextlib.contextmanager
def full_disk_explained(path: Path, n_bytes: int, *, kept: str) -> Iterator[None]:
    """Turn "no space left on device" into a sentence that says how much is free and what is safe.

    Args:
        path: The file that is written inside the block.
        n_bytes: How much the block writes.
        kept: What is still there if it fails, e.g. "the file is as before".

    Raises:
        OSError: As raised by the block, with the same `errno`; only those of a full disk are reworded.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free = readable(free_bytes(path.parent))
        told = f"{path}: {_FULL[error.errno]}: {readable(n_bytes)} to write, {free} free; {kept}"
        raise OSError(error.errno, told) from error


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part, also after a crash.

    Args:
        path: The file; its folder must exist.
        data: The new content.

    Raises:
        OSError: The folder is missing, read-only or full; the file is as before and nothing is left behind.
    """
    path = Path(path)
    with full_disk_explained(path, len(data), kept="the file is as it was before"):
        descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, _mode(path))
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were created or replaced in a folder survive a power cut, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot sync a folder; the file itself was synced
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _mode(path: Path) -> int:
    """Return the permissions of the file that is replaced, or those that `open` would give a new one."""
    if path.exists():
        return path.stat().st_mode & 0o7777
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
