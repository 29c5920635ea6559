"""Zip archives from outside: every member is looked at before any is unpacked, and anything odd is refused."""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, cast

from pipeline.disk import readable
from pipeline.importers.wording import counted
from pipeline.importers.zip_names import check_name, check_unlike

_SUFFIXES = [
    ".zip",
    ".gz",
    ".tgz",
    ".bz2",
    ".xz",
    ".zst",
    ".7z",
    ".rar",
    ".tar",
    ".age",
    ".jar",
    ".npz",
    ".whl",
]
_STARTS = (
    *(b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"),
    *(b"age-encryption.org", b"-----BEGIN AGE"),
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_END, _END_BYTES, _END_64 = b"PK\x05\x06", 22, b"PK\x06\x07"
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, RuntimeError, EOFError, OSError)
"""What reading a damaged archive raises; RuntimeError and its kin for features that are not there."""

_ENTRY_BYTES = 1000
"""More than the list of members takes for one of them, with any reasonable name."""
_SMALL_BYTES = 10**6
_CHUNK = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How large what comes out of an archive may be.

    Attributes:
        members: Files and folders in it.
        member_bytes: Of one file.
        total_bytes: Of all files together.
        ratio: Bytes that come out for each byte in the archive, for files of more than 1 MB. The text of data
            sets has about 3 to 30.
    """

    members: int = 10_000
    member_bytes: int = 2 * 2**30
    total_bytes: int = 4 * 2**30
    ratio: float = 200.0


def checked_zip(file: io.BufferedIOBase, name: str, limits: Limits) -> zipfile.ZipFile:
    """Return an archive whose list of members shows nothing that is refused.

    Args:
        file: Open for seeking and reading.
        name: What errors call it.
        limits: How large it may be.

    Raises:
        ValueError: It is no zip archive, is damaged, or a member is refused: encrypted, no plain file, an
            archive itself, too large, or with a name that is unsafe or stands twice.
    """
    n_members = _check_outline(file, name, limits)
    try:
        archive = zipfile.ZipFile(cast(Any, file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: holds a member whose name is not UTF-8") from error
    except _DAMAGED as error:
        raise ValueError(f"{name}: is a damaged zip archive: {error}") from error
    members = archive.infolist()
    if len(members) != n_members:
        told = f"it says it has {counted(n_members, 'member')} and has {len(members)}"
        raise ValueError(f"{name}: is a damaged zip archive: {told}")
    for member in members:
        _check_member(member, f"{name}: member {member.orig_filename!r}", limits)
    _check_all(members, file.seek(0, 2), name, limits)
    return archive


def check_content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    """Unpack a member without keeping it: it must have the size that it says, be whole, and be no archive.

    Raises:
        ValueError: It is not so.
    """
    at, n_bytes, start = f"{name}: member {member.filename!r}", 0, b""
    try:
        with archive.open(member) as content:
            while chunk := content.read(_CHUNK):
                start = start or chunk[:32]
                n_bytes += len(chunk)
    except _DAMAGED as error:
        raise ValueError(f"{at}: is damaged: {error}") from error
    if n_bytes != member.file_size:
        raise ValueError(f"{at}: says it has {member.file_size} bytes and has {n_bytes}")
    if start.startswith(_STARTS):
        raise ValueError(f"{at}: is an archive or encrypted itself; unpack it and pack what is in it")


def _check_outline(file: io.BufferedIOBase, name: str, limits: Limits) -> int:
    """Return how many members there should be; refuse too long a list of them before it is read."""
    n_bytes = file.seek(0, 2)
    file.seek(max(0, n_bytes - _END_BYTES - len(_END_64) - 2**16))
    tail = file.read()
    file.seek(0)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_BYTES:
        raise ValueError(
            f"{name}: holds no whole zip archive ({readable(n_bytes)}, no list of members at its end)"
        )
    n_members, list_bytes = struct.unpack("<HL", tail[at + 10 : at + 16])
    if _END_64 in tail[max(0, at - 20) : at]:
        raise ValueError(f"{name}: is a ZIP64 archive, for sizes beyond what is allowed; pack fewer files")
    if n_members > limits.members or list_bytes > limits.members * _ENTRY_BYTES:
        told = f"{n_members} members in a list of {readable(list_bytes)}"
        raise ValueError(f"{name}: has too many members, {told}; allowed: {limits.members}")
    return int(n_members)


def _check_member(member: zipfile.ZipInfo, at: str, limits: Limits) -> None:
    check_name(member, at)
    if member.flag_bits & 0x2041:  # encrypted; strongly; with a masked list
        raise ValueError(f"{at}: is encrypted inside the archive; pack it without a password")
    if member.compress_type not in _METHODS:
        raise ValueError(f"{at}: is packed by method {member.compress_type}; allowed: stored, deflated")
    if PurePosixPath(member.filename).suffix.lower() in _SUFFIXES:
        raise ValueError(f"{at}: is an archive or encrypted itself; unpack it and pack what is in it")
    size = member.file_size
    if size > limits.member_bytes:
        raise ValueError(f"{at}: unpacks to {readable(size)}; allowed: {readable(limits.member_bytes)}")
    if size > _SMALL_BYTES and size > limits.ratio * member.compress_size:
        packed = readable(member.compress_size)
        raise ValueError(
            f"{at}: {packed} unpack to {readable(size)}; allowed: {limits.ratio:g} times as much"
        )


def _check_all(members: Sequence[zipfile.ZipInfo], n_bytes: int, name: str, limits: Limits) -> None:
    if not any(not member.is_dir() for member in members):
        raise ValueError(f"{name}: holds no files")
    if (total := sum(member.file_size for member in members)) > limits.total_bytes:
        raise ValueError(f"{name}: unpacks to {readable(total)}; allowed: {readable(limits.total_bytes)}")
    if sum(member.compress_size for member in members) > n_bytes:
        raise ValueError(f"{name}: its members overlap, they are larger than the archive")
    check_unlike([member.filename for member in members], name)
