"""Text files from outside, line by line: hashed while they are read, other formats known by their first bytes.

The file is read once and never held whole.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from activations.progress import Progress, silent
from pipeline.importers.imported import FileFacts

MAX_LINE_BYTES = 32 * 2**20
"""A longer line is no row of a data set."""

_CHUNK = 2**20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FORMATS = {
    b"\x1f\x8b": "is a gzip file; unpack it first",
    b"PK\x03\x04": "is a zip file; unpack it first",
    b"PAR1": "is a Parquet file; read it as parquet:FILE",
    b"ARROW1": "is an Arrow file; read the folder that it is in as dataset:FOLDER",
    b"age-encryption.org": "is encrypted with age; read it as age:FILE",
    b"-----BEGIN AGE": "is encrypted with age; read it as age:FILE",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
}


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file that can be opened for reading: one on disk, or a member of an archive.

    Attributes:
        name: What errors call it.
        n_bytes: Its size, for progress bars.
        open: Opens it anew at its start, for seeking and reading bytes.
    """

    name: str
    n_bytes: int
    open: Callable[[], io.BufferedIOBase]

    @property
    def stem(self) -> str:
        """Its name without folders and without what stands behind the last point."""
        return Path(self.name).stem


def on_disk(path: Path | str) -> SourceFile:
    """Return a file on disk.

    Raises:
        FileNotFoundError: There is no such file.
        IsADirectoryError: It is a folder.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        raise IsADirectoryError(f"{path}: is a folder, need a file")
    if not place.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    return SourceFile(name=str(path), n_bytes=place.stat().st_size, open=lambda: place.open("rb"))


def sha256_of(source: SourceFile) -> FileFacts:
    """Return the facts of a file that is not read line by line."""
    with source.open() as file:
        return FileFacts(name=source.name, sha256=hashlib.file_digest(file, "sha256").hexdigest())


class Lines:
    """The lines of a UTF-8 file, once; its facts are known at the end."""

    def __init__(self, source: SourceFile, progress: Progress = silent) -> None:
        """Remember what to read; nothing is opened yet."""
        self.source = source
        self._progress = progress
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[str]:
        r"""Yield each line with the `\n` at its end, the first one without a byte order mark.

        Raises:
            ValueError: The file is of another format, not UTF-8, or has a line without an end.
        """
        task = self._progress(f"read {Path(self.source.name).name}", self.source.n_bytes)
        with self.source.open() as file, task as advance:
            number, told = 0, 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                self._hash.update(line)
                if number == 1:
                    line = self._first(line)
                if (told := told + len(line)) > _CHUNK:
                    advance(told)
                    told = 0
                yield self._decoded(line, number)
            advance(told)

    def facts(self) -> FileFacts:
        """Return the name and the hash; call it when all lines are read."""
        return FileFacts(name=self.source.name, sha256=self._hash.hexdigest())

    def _first(self, line: bytes) -> bytes:
        for start, what in _FORMATS.items():
            if line.startswith(start):
                raise ValueError(f"{self.source.name}: {what}")
        return line.removeprefix(_BYTE_ORDER_MARK)

    def _decoded(self, line: bytes, number: int) -> str:
        if len(line) > MAX_LINE_BYTES:
            longest = f"longer than {MAX_LINE_BYTES // 2**20} MiB"
            raise ValueError(f"{self.source.name}:{number}: the line is {longest}; need one row on each line")
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = f"byte {error.start + 1} of the line is {line[error.start]:#04x}"
            told = f"{self.source.name}:{number}: not UTF-8, {byte}; save the file as UTF-8"
            raise ValueError(told) from error
