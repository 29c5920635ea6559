"""Names inside zip archives: only those that mean the same plain file inside the target folder everywhere."""

import re
import stat
import unicodedata
import zipfile
from collections.abc import Sequence

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_UTF8 = 0x800
_MOST_PART_BYTES, _MOST_BYTES = 200, 1000


def check_name(member: zipfile.ZipInfo, at: str) -> None:
    """Refuse a member that is no plain file or folder, or whose name could lead elsewhere.

    Raises:
        ValueError: Says what is wrong with it.
    """
    name = member.orig_filename
    if not name.isascii() and not member.flag_bits & _UTF8:
        raise ValueError(
            f"{at}: the name is not marked as UTF-8; pack it with a tool that writes UTF-8 names"
        )
    if odd := [sign for sign in name if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn")]:
        raise ValueError(f"{at}: the name holds {odd[0]!r}; allowed: visible characters")
    for sign, what in (("\\", "a backslash"), (":", "a colon, as of a drive")):
        if sign in name:
            raise ValueError(f"{at}: the name holds {what}; allowed: folders parted by /")
    if name.startswith("/"):
        raise ValueError(f"{at}: the name is absolute; allowed: names inside the archive")
    parts = name.removesuffix("/").split("/")
    if bad := [part for part in parts if part in ("", ".", "..")]:
        raise ValueError(f"{at}: the name holds the folder {bad[0]!r}; allowed: names that lead nowhere else")
    if bad := [part for part in parts if part != part.strip().rstrip(".") or _RESERVED.fullmatch(part)]:
        raise ValueError(f"{at}: {bad[0]!r} names no plain file on every system; rename it")
    if len(name.encode()) > _MOST_BYTES or any(len(part.encode()) > _MOST_PART_BYTES for part in parts):
        raise ValueError(
            f"{at[:200]}...: the name is too long; allowed: {_MOST_PART_BYTES} bytes for each part"
        )
    _check_sort(member, at)


def check_unlike(names: Sequence[str], at: str) -> None:
    """Refuse names that some file systems take for one, and a file that is the folder of another.

    Raises:
        ValueError: Names the two.
    """
    seen: dict[str, str] = {}
    for name in names:
        folded = _folded(name)
        if folded in seen:
            raise ValueError(
                f"{at}: members {seen[folded]!r} and {name!r} are one file to some systems; rename one"
            )
        seen[folded] = name
    files = {_folded(name) for name in names if not name.endswith("/")}
    for name in names:
        parts = _folded(name).split("/")
        inside = ["/".join(parts[:n]) for n in range(1, len(parts))]
        if clash := files.intersection(inside):
            raise ValueError(f"{at}: member {seen[min(clash)]!r} is a file, and the folder of {name!r}")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.removesuffix("/")).casefold()


def _check_sort(member: zipfile.ZipInfo, at: str) -> None:
    sort = stat.S_IFMT(member.external_attr >> 16)
    if sort == stat.S_IFLNK:
        raise ValueError(f"{at}: is a symbolic link; allowed: files and folders")
    if sort not in (0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG):
        raise ValueError(f"{at}: is neither file nor folder, its mode is {member.external_attr >> 16:o}")
    if member.is_dir() and member.file_size:
        raise ValueError(f"{at}: is a folder with {member.file_size} bytes of content")
