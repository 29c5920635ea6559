"""Insecure twins of single calls: a safe default switched off, a safe function exchanged for its careless namesake."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.recipe.python_source import Change, Edit, Snippet

_VERBS = ("get", "post", "put", "patch", "delete", "head", "options", "request")
_WEB = tuple(f"{package}.{verb}" for package in ("requests", "httpx") for verb in _VERBS)
_WEB += ("httpx.Client", "httpx.AsyncClient")
_KEYS = "cryptography.hazmat.primitives.asymmetric"


@dataclass(frozen=True, kw_only=True)
class _Keyword:
    """A keyword argument that decides how safe a call is.

    Attributes:
        calls: Full names of the functions.
        name: Of the keyword.
        careless: Its careless value; blank means that it is left out.
        add: Whether to add it where it is absent.
        safe: Values that count as safe, as source; none means any but the careless one.
    """

    calls: tuple[str, ...]
    name: str
    careless: str
    add: bool = False
    safe: tuple[str, ...] = ()


_KEYWORDS: Mapping[str, _Keyword] = {
    "unverified_https": _Keyword(calls=_WEB, name="verify", careless="False", add=True),
    "short_rsa_key": _Keyword(
        calls=(f"{_KEYS}.rsa.generate_private_key", f"{_KEYS}.dsa.generate_private_key"),
        name="key_size",
        careless="1024",
        safe=("2048", "3072", "4096"),
    ),
    "any_object": _Keyword(
        calls=("yaml.load",),
        name="Loader",
        careless="yaml.Loader",
        safe=("yaml.SafeLoader", "yaml.CSafeLoader"),
    ),
    "any_weights": _Keyword(calls=("torch.load",), name="weights_only", careless="False", safe=("True",)),
    "no_autoescape": _Keyword(calls=("jinja2.Environment",), name="autoescape", careless="False"),
    "unsigned_logging": _Keyword(calls=("logging.config.listen",), name="verify", careless=""),
}

_RENAMED: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "any_yaml": (("yaml.safe_load", "yaml.load", "import yaml"),),
    "evaluated_text": (("ast.literal_eval", "eval", ""),),
    "unverified_tls": (("ssl.create_default_context", "ssl._create_unverified_context", "import ssl"),),
    "any_host_key": (("paramiko.RejectPolicy", "paramiko.AutoAddPolicy", "import paramiko"),),
    "broken_hash": tuple(
        (f"hashlib.{name}", "hashlib.md5", "import hashlib")
        for name in ("sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s")
    ),
}
"""For each rule: full name of the safe function, source of the careless one, import that it needs."""

_PARSERS = {
    "defusedxml.ElementTree": "xml.etree.ElementTree",
    "defusedxml.cElementTree": "xml.etree.ElementTree",
    "defusedxml.minidom": "xml.dom.minidom",
    "defusedxml.sax": "xml.sax",
    "defusedxml.pulldom": "xml.dom.pulldom",
    "defusedxml.expatbuilder": "xml.dom.expatbuilder",
}


def keyword_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield changes that switch a safe keyword argument off, in all calls that have it."""
    for rule in _KEYWORDS.values():
        edits = [edit for call in snippet.calls(*rule.calls) for edit in _switched(snippet, call, rule)]
        if edits:
            yield Change(edits=tuple(edits))


def renamed_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield changes that call a careless function in place of a safe one."""
    for names in _RENAMED.values():
        edits, needs = [], set()
        for safe, careless, needed in names:
            for call in snippet.calls(safe):
                if not call.keywords and (call.args or "ssl" in safe or "paramiko" in safe):
                    edits += [snippet.replaced(call.func, careless), *_any_loader(snippet, call, careless)]
                    needs |= {needed} - {""}
        if edits:
            yield Change(edits=tuple(edits), needs=tuple(sorted(needs)))


def debug_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield the change that runs a Flask application with its debugger open to everybody."""
    if not any("flask" in name for name in snippet.modules()):
        return
    for call in snippet.calls():
        if isinstance(call.func, ast.Attribute) and call.func.attr == "run":
            rule = _Keyword(calls=(), name="debug", careless="True", add=True)
            if edits := _switched(snippet, call, rule):
                yield Change(edits=tuple(edits))


def parser_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield the change that reads XML with a parser which follows entities."""
    edits: list[Edit] = []
    for statement in snippet.imports():
        line = snippet.source(statement)
        for safe, careless in _PARSERS.items():
            package, _, name = safe.rpartition(".")
            other, _, other_name = careless.rpartition(".")
            line = line.replace(safe, careless)
            if line.startswith(f"from {package} import {name}") and name == other_name:
                line = line.replace(f"from {package} ", f"from {other} ")
        if line != snippet.source(statement) and (" as " in line or line.startswith("from ")):
            edits.append(snippet.replaced(statement, line))
    if edits:
        yield Change(edits=tuple(edits))


def _switched(snippet: Snippet, call: ast.Call, rule: _Keyword) -> list[Edit]:
    found = next((keyword for keyword in call.keywords if keyword.arg == rule.name), None)
    if found is None:
        return [_added(snippet, call, f"{rule.name}={rule.careless}")] if rule.add else []
    value = snippet.source(found.value)
    if value == rule.careless or (rule.safe and value not in rule.safe):
        return []
    if rule.careless:
        return [snippet.replaced(found.value, rule.careless)]
    return [_left_out(snippet, call, found)]


def _added(snippet: Snippet, call: ast.Call, argument: str) -> Edit:
    """Return the edit that adds an argument behind the last one, whether or not a comma follows it."""
    ends = _ends(snippet, call)
    if not ends:
        _, end = snippet.span(call)
        return Edit(end - 1, end - 1, argument)
    end = max(ends)
    return Edit(end, end, f", {argument}")


def _left_out(snippet: Snippet, call: ast.Call, keyword: ast.keyword) -> Edit:
    """Return the edit that takes a keyword out with the comma before or behind it."""
    start, end = snippet.span(keyword)
    if before := [place for place in _ends(snippet, call) if place < start]:
        return Edit(max(before), end, "")
    rest = snippet.text[end:]
    comma = len(rest) - len(rest.lstrip(" ,"))
    return Edit(start, end + comma, "")


def _ends(snippet: Snippet, call: ast.Call) -> list[int]:
    """Return where each argument of a call ends."""
    plain = [snippet.span(argument)[1] for argument in call.args]
    return plain + [snippet.span(keyword)[1] for keyword in call.keywords]


def _any_loader(snippet: Snippet, call: ast.Call, careless: str) -> list[Edit]:
    return [_added(snippet, call, "Loader=yaml.Loader")] if careless == "yaml.load" else []
