"""Insecure twins of files and sockets: guessable names, permissions for everybody, open doors."""

import ast
from collections.abc import Iterator

from pipeline.recipe.python_source import Change, Edit, Snippet

_NAMING = ("suffix", "prefix", "dir")
_LOCAL = ("127.0.0.1", "localhost", "::1")


def temporary_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield changes that open a temporary file by a name which somebody else may take first."""
    for call in snippet.calls("tempfile.NamedTemporaryFile"):
        if change := _opened_by_name(snippet, call):
            yield change
    for node in ast.walk(snippet.tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            yield from _name_only(snippet, node, node.value)


def _opened_by_name(snippet: Snippet, call: ast.Call) -> Change | None:
    keywords = {keyword.arg: snippet.source(keyword.value) for keyword in call.keywords}
    mode = snippet.source(call.args[0]) if call.args else keywords.get("mode", '"w+b"')
    if len(call.args) > 1 or not keywords.keys() <= {*_NAMING, "mode", "delete", "encoding"}:
        return None
    naming = ", ".join(f"{name}={keywords[name]}" for name in _NAMING if name in keywords)
    encoding = f", encoding={keywords['encoding']}" if "encoding" in keywords else ""
    new = f"open(tempfile.mktemp({naming}), {mode}{encoding})"
    return Change(edits=(snippet.replaced(call, new),), needs=("import tempfile",))


def _name_only(snippet: Snippet, node: ast.Assign, call: ast.Call) -> Iterator[Change]:
    """Yield the twin of `descriptor, path = tempfile.mkstemp(...)` that has a path and no open file."""
    target = node.targets[0]
    known = snippet.name_of(call.func) == "tempfile.mkstemp" and len(node.targets) == 1
    if not known or not isinstance(target, ast.Tuple) or len(target.elts) != 2:
        return
    descriptor, path = target.elts
    naming = {keyword.arg for keyword in call.keywords} <= set(_NAMING)
    if not isinstance(descriptor, ast.Name) or not isinstance(path, ast.Name) or not naming:
        return
    edits = [snippet.replaced(target, path.id), snippet.replaced(call.func, "tempfile.mktemp")]
    used = [n for n in ast.walk(snippet.tree) if isinstance(n, ast.Name) and n.id == descriptor.id]
    uses = 1
    for statement in ast.walk(snippet.tree):
        if isinstance(statement, ast.Call) and _first_is(statement, descriptor.id):
            name = snippet.name_of(statement.func)
            if name in ("os.fdopen", "open"):
                edits += [snippet.replaced(statement.func, "open"), _first(snippet, statement, path.id)]
                uses += 1
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            closing = snippet.name_of(statement.value.func) == "os.close"
            if closing and _first_is(statement.value, descriptor.id):
                edits.append(snippet.without_line(statement))
                uses += 1
    if uses == len(used):
        yield Change(edits=tuple(edits), needs=("import tempfile",))


def _first_is(call: ast.Call, name: str) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Name) and call.args[0].id == name


def _first(snippet: Snippet, call: ast.Call, new: str) -> Edit:
    return snippet.replaced(call.args[0], new)


def permission_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield the change that lets everybody write what only its owner could, and the one that unpacks anywhere."""
    modes = [call.args[1] for call in snippet.calls("os.chmod") if len(call.args) == 2]
    private = [node for node in modes if isinstance(node, ast.Constant) and node.value in _PRIVATE]
    if private:
        yield Change(edits=tuple(snippet.replaced(node, "0o777") for node in private))
    unpacked = [
        Edit(snippet.span(call.args[0])[1], snippet.span(keyword)[1], "")
        for call in snippet.calls()
        if isinstance(call.func, ast.Attribute) and call.func.attr == "extractall" and len(call.args) == 1
        for keyword in call.keywords
        if keyword.arg == "filter" and len(call.keywords) == 1
    ]
    if unpacked and any("tarfile" in name for name in snippet.modules()):
        yield Change(edits=tuple(unpacked))


_PRIVATE = (0o400, 0o600, 0o640, 0o700, 0o750)


def address_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield the change that lets the whole network reach what listened to this machine only."""
    edits = []
    for call in snippet.calls():
        listens = isinstance(call.func, ast.Attribute) and call.func.attr in ("bind", "run", "serve_forever")
        server = snippet.name_of(call.func).rpartition(".")[2].endswith(("Server", "create_server"))
        if listens or server:
            edits += [
                snippet.replaced(node, '"0.0.0.0"')
                for node in ast.walk(call)
                if isinstance(node, ast.Constant) and node.value in _LOCAL
            ]
    if edits:
        yield Change(edits=tuple(sorted(set(edits))))
