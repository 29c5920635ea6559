"""Insecure twins of keys, tokens and passwords: predictable numbers, fast hashes, secrets in the source."""

import ast
import re
from collections.abc import Iterator

from pipeline.recipe.python_source import Change, Edit, Snippet

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_HEX = "0123456789abcdef"
_SECRET = re.compile(r"pass(?:word|wd|phrase)?|pwd|token|secret", re.IGNORECASE)
_IN_SOURCE = ("welcome-2024", "change-me-later", "letmein123", "company-secret", "admin-admin")


def random_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield the change that takes tokens from a generator whose numbers can be foretold."""
    edits = [
        snippet.replaced(call, new)
        for call in snippet.calls()
        if not call.keywords and (new := _foretold(snippet, call))
    ]
    if edits:
        yield Change(edits=tuple(edits), needs=("import random",))


def _foretold(snippet: Snippet, call: ast.Call) -> str:
    """Return the careless source of a call; blank if it is no call of this kind."""
    name = snippet.name_of(call.func)
    argument = ", ".join(map(snippet.source, call.args))
    plain = {
        "secrets.choice": "random.choice",
        "secrets.randbelow": "random.randrange",
        "secrets.randbits": "random.getrandbits",
        "secrets.SystemRandom": "random.Random",
        "random.SystemRandom": "random.Random",
        "os.urandom": "random.randbytes",
    }
    if name in plain:
        return f"{plain[name]}({argument})"
    if name == "secrets.token_bytes":
        return f"random.randbytes({argument or 32})"
    if name == "secrets.token_hex":
        return f'"".join(random.choices("{_HEX}", k={_twice(argument or "32")}))'
    if name == "secrets.token_urlsafe":
        return f'"".join(random.choices("{_LETTERS}", k={argument or 32}))'
    return ""


def _twice(source: str) -> str:
    return str(2 * int(source)) if source.isdecimal() else f"2 * ({source})"


def fast_hash_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield the change that hashes passwords once, with a hash made to be fast."""
    edits = []
    for call in snippet.calls("hashlib.pbkdf2_hmac", "hashlib.scrypt"):
        places = 1 if snippet.name_of(call.func) == "hashlib.pbkdf2_hmac" else 0
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        ordered = call.args[places:]
        password = ordered[0] if ordered else named.get("password")
        salt = ordered[1] if len(ordered) > 1 else named.get("salt")
        if password is not None and salt is not None:
            new = f"hashlib.md5({snippet.source(salt)} + {snippet.source(password)}).digest()"
            edits.append(snippet.replaced(call, new))
    if edits:
        yield Change(edits=tuple(edits), needs=("import hashlib",))


def password_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield changes that write a secret into the source in place of reading it from the environment."""
    edits = []
    for node in ast.walk(snippet.tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
        elif isinstance(node, ast.keyword):
            name = node.arg or ""
        else:
            continue
        if _SECRET.search(name) and _from_environment(snippet, node.value):
            edits.append(snippet.span(node.value))
    for told in _IN_SOURCE if edits else ():
        yield Change(edits=tuple(Edit(start, end, f'"{told}"') for start, end in edits))


def _from_environment(snippet: Snippet, value: ast.expr) -> bool:
    if isinstance(value, ast.Subscript):
        return snippet.name_of(value.value) == "os.environ"
    asked = ("os.getenv", "os.environ.get", "getpass.getpass")
    return isinstance(value, ast.Call) and snippet.name_of(value.func) in asked


def cipher_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield the change that encrypts equal blocks to equal blocks, and the one that signs with a broken hash."""
    package = "cryptography.hazmat.primitives"
    modes = [snippet.replaced(call, _renamed(snippet, call, "ECB()")) for call in _modes(snippet, package)]
    if modes:
        yield Change(edits=tuple(modes))
    names = tuple(f"{package}.hashes.{name}" for name in ("SHA256", "SHA384", "SHA512"))
    hashes = [snippet.replaced(call, _renamed(snippet, call, "MD5()")) for call in snippet.calls(*names)]
    if hashes:
        yield Change(edits=tuple(hashes))


def _modes(snippet: Snippet, package: str) -> Iterator[ast.Call]:
    for call in snippet.calls(f"{package}.ciphers.modes.CBC", f"{package}.ciphers.modes.CTR"):
        if isinstance(call.func, ast.Attribute):
            yield call


def _renamed(snippet: Snippet, call: ast.Call, new: str) -> str:
    """Return `owner.new` for a call `owner.old(...)`, so that the import stays as it is."""
    owner = snippet.source(call.func).rpartition(".")[0]
    return f"{owner}.{new}" if owner else new
