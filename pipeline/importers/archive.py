"""Archives encrypted with age, in which data sets are shipped: opened without unpacking, or unpacked whole or not.

Everything is checked before anything is written (`zip_checks`), and archives inside archives are never opened.
"""

import io
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import cast

from activations.progress import Progress, silent
from pipeline.disk import PARTIAL, full_disk_explained, require_free, sync_folder
from pipeline.importers.age_files import Secret, decrypted
from pipeline.importers.source_file import SourceFile, on_disk
from pipeline.importers.zip_checks import Limits, check_content, checked_zip

_CHUNK = 2**20


def extract_archive(
    source: Path | str | SourceFile,
    folder: Path | str,
    *,
    secret: Secret,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> tuple[Path, ...]:
    """Decrypt a zip archive and unpack it into a new folder that only you may read, whole or not at all.

    Args:
        source: The encrypted archive.
        folder: Where its files go; must not exist, or be empty. Its parent must exist.
        secret: Returns the passphrase or the age secret key; see `secret_in`.
        limits: How large it may be.
        progress: Shows how far it is.

    Returns:
        The files that were written, in the order of their names.

    Raises:
        OSError: A file cannot be read, the folder is there already, or the disk is full; nothing is written.
        LookupError: pyrage is not installed.
        ValueError: The secret does not open it, or something in it is refused; nothing is written.
    """
    target = Path(folder).expanduser()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FileExistsError(f"{folder}: is there already; need a folder that does not exist or is empty")
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: there is no such folder")
    file = source if isinstance(source, SourceFile) else on_disk(source)
    with _opened(file, secret, limits or Limits()) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        total = sum(member.file_size for member in members)
        with progress(f"unpack {Path(file.name).name}", 2 * total) as advance:
            for member in members:
                check_content(archive, member, file.name)
                advance(member.file_size)
            require_free(target.absolute().parent, total)
            partial = Path(mkdtemp(dir=target.absolute().parent, prefix=f".{target.name}.", suffix=PARTIAL))
            try:
                for member in members:
                    _write(archive, member, partial / member.filename)
                    advance(member.file_size)
                os.rename(partial, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    sync_folder(target.absolute().parent)
    return tuple(sorted(target / member.filename for member in members))


@contextmanager
def archive_members(
    source: Path | str | SourceFile, *, secret: Secret, limits: Limits | None = None
) -> Iterator[Mapping[str, SourceFile]]:
    """Open an encrypted archive and give its files by name, for reading; nothing is written.

    Args:
        source: The encrypted archive.
        secret: Returns the passphrase or the age secret key; see `secret_in`.
        limits: How large it may be.

    Raises:
        OSError: The file cannot be read.
        LookupError: pyrage is not installed.
        ValueError: The secret does not open it, or something in it is refused. A file's own content is checked
            when it is opened.
    """
    file = source if isinstance(source, SourceFile) else on_disk(source)
    with _opened(file, secret, limits or Limits()) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        yield {member.filename: _member(archive, member, file.name) for member in members}


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> SourceFile:
    def opened() -> io.BufferedIOBase:
        check_content(archive, member, name)
        return cast(io.BufferedIOBase, archive.open(member))

    return SourceFile(name=f"{name}/{member.filename}", n_bytes=member.file_size, open=opened)


@contextmanager
def _opened(file: SourceFile, secret: Secret, limits: Limits) -> Iterator[zipfile.ZipFile]:
    with decrypted(file, secret) as content, checked_zip(content, file.name, limits) as archive:
        yield archive


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        full_disk_explained(path, member.file_size, kept="nothing was unpacked"),
        archive.open(member) as content,
        open(path, "xb") as file,
    ):
        shutil.copyfileobj(content, file, _CHUNK)
        file.flush()
        os.fsync(file.fileno())
