"""Files encrypted with age: decrypted into memory or a file without a name, with a passphrase or a secret key.

The secret comes from a function or a file, never from a flag, and stands in no error, log or record.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from pipeline.disk import readable
from pipeline.importers.extras import extra
from pipeline.importers.source_file import SourceFile

Secret = Callable[[], str]
"""Returns the passphrase, or an age secret key (`AGE-SECRET-KEY-1...`); called once, when it is needed."""

MOST_ENCRYPTED_BYTES = 2 * 2**30
"""A larger file is not read: decrypting with a passphrase takes about twice its size of memory."""

_BINARY, _ARMORED = b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----"
_KEY = "AGE-SECRET-KEY-"


def secret_in(path: Path | str) -> Secret:
    """Return what reads a passphrase or a key from a file: its first line that is not blank or a `#` comment.

    Raises (when it is called):
        OSError: The file cannot be read.
        ValueError: The file has no such line or is not UTF-8; says nothing of what is in it.
    """

    def read() -> str:
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError(
                f"{path}: is not UTF-8; need a passphrase or an age key on the first line"
            ) from None
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                return line
        raise ValueError(f"{path}: holds no passphrase; need it on the first line")

    return read


def decrypted(source: SourceFile, secret: Secret) -> io.BufferedIOBase:
    """Return the content of an encrypted file, open for reading; it vanishes when it is closed.

    Args:
        source: The file, binary or armored.
        secret: Asked once the file is seen to be encrypted with age.

    Raises:
        LookupError: pyrage is not installed.
        ValueError: The file is not encrypted with age, or is damaged, or the secret does not open it.
    """
    with source.open() as file:
        head = file.read(256)
        if not head.startswith((_BINARY, _ARMORED)):
            plain = "; it is a zip file as it stands" if head.startswith(b"PK") else ""
            raise ValueError(f"{source.name}: is not encrypted with age, it begins {head[:16]!r}{plain}")
        if source.n_bytes > MOST_ENCRYPTED_BYTES:
            sizes = f"{readable(source.n_bytes)}; allowed: {readable(MOST_ENCRYPTED_BYTES)}"
            raise ValueError(f"{source.name}: is too large, {sizes}")
        pyrage = extra("pyrage", f"{source.name}: a file encrypted with age")
        file.seek(0)
        identity = _identity(pyrage, secret, source.name)
        try:
            return _opened(pyrage, file, identity)
        except (pyrage.DecryptError, OSError) as error:
            raise ValueError(f"{source.name}: {_why(str(error), head)}") from error


def _identity(pyrage: Any, secret: Secret, name: str) -> Any:
    """Return what decrypts a file: an object of pyrage for a key, a function for a passphrase.

    The secret itself is handed to no function of ours, so that it stands in no report of a wrong call.
    """
    word: Any = secret()
    if not isinstance(word, str) or not word.strip():
        raise ValueError(f"{name}: the passphrase is empty; need some text or an age secret key")
    if not word.strip().upper().startswith(_KEY):
        return lambda content: pyrage.passphrase.decrypt(content, word)
    try:
        return pyrage.x25519.Identity.from_str(word.strip())
    except pyrage.IdentityError:
        told = f"{name}: the key is not valid; an age secret key begins with {_KEY}1"
        raise ValueError(told) from None


def _opened(pyrage: Any, file: io.BufferedIOBase, identity: Any) -> io.BufferedIOBase:
    if callable(identity):
        return io.BytesIO(identity(file.read()))
    with contextlib.ExitStack() as on_error:
        content: Any = on_error.enter_context(tempfile.TemporaryFile())
        pyrage.decrypt_io(file, content, [identity])
        content.seek(0)
        on_error.pop_all()
    return cast(io.BufferedIOBase, content)


def _why(told: str, head: bytes) -> str:
    """Return in plain words why a file could not be decrypted, from what pyrage says."""
    if "Excessive work" in told:
        return "was made to take very long to decrypt, which is refused; encrypt it anew with usual settings"
    if "Decryption failed" in told:
        return "the passphrase does not open it"
    if "matching keys" in told:
        by = (
            "a passphrase"
            if b"-> scrypt " in head
            else "a key, not a passphrase"
            if b"-> X25519 " in head
            else ""
        )
        return f"the key or passphrase does not open it{f'; it is encrypted to {by}' if by else ''}"
    return f"is damaged or cut off ({told})"
