"""Insecure twins of database queries: values pasted into the SQL text in place of parameters."""

import ast
import re
from collections.abc import Iterator

from pipeline.recipe.python_source import Change, Edit, Snippet

_PLACEHOLDER = re.compile(r"%s|\?|:(?P<key>[A-Za-z_]\w*)|%\((?P<name>\w+)\)s")
_BARE = re.compile(r"(?:\b(?:LIMIT|OFFSET)|['\"])\s*$", re.IGNORECASE)  # no quotes are put behind these
_VALUE = (ast.Name, ast.Attribute, ast.Subscript, ast.Call)


def sql_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield, for each query with parameters, a twin that builds the SQL text by % and one that does by f-string."""
    for call in snippet.calls():
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "execute" or len(call.args) != 2:
            continue
        literal, parameters = _literal(snippet, call.args[0], call), call.args[1]
        if literal is None:
            continue
        unused = Edit(snippet.span(call.args[0])[1], snippet.span(parameters)[1], "")
        for new in (_by_percent(snippet, literal, parameters), _by_f_string(snippet, literal, parameters)):
            if new:
                yield Change(edits=(snippet.replaced(literal, new), unused))


def _literal(snippet: Snippet, query: ast.expr, call: ast.Call) -> ast.Constant | None:
    """Return the text of a query: in place, inside `text(...)`, or assigned to its name just once before."""
    if isinstance(query, ast.Call) and len(query.args) == 1:
        query = query.args[0]
    if isinstance(query, ast.Name):
        assigned = snippet.assigned(query.id)
        if assigned is None or _bound_between(snippet.tree, assigned.lineno, call):
            return None
        query = assigned.value
    return query if isinstance(query, ast.Constant) and isinstance(query.value, str) else None


def _bound_between(tree: ast.Module, line: int, call: ast.Call) -> bool:
    """Whether a parameter gets its value only after the line where the text is assigned."""
    names = {node.id for node in ast.walk(call.args[1]) if isinstance(node, ast.Name)}
    return any(
        isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Store)
        and node.id in names
        and line <= node.lineno <= call.lineno
        for node in ast.walk(tree)
    )


def _by_percent(snippet: Snippet, literal: ast.Constant, parameters: ast.expr) -> str:
    """Return the literal with `'%s'` in place of parameters and `% values` behind; blank if that cannot be."""
    source = snippet.source(literal)
    found = list(_PLACEHOLDER.finditer(source))
    kinds = {match.group() if match.group() in ("%s", "?") else "key" for match in found}
    if len(kinds) != 1 or source.count("%") != sum(match.group().startswith("%") for match in found):
        return ""
    if kinds == {"key"} and not (isinstance(parameters, ast.Dict) and source.count("%(") == len(found)):
        return ""
    if kinds != {"key"} and isinstance(parameters, (ast.Dict, ast.List)):
        return ""
    quote = _inner_quote(source)
    pasted = _PLACEHOLDER.sub(lambda m: _quoted(source, m, m.group().replace("?", "%s"), quote), source)
    return f"{pasted} % {snippet.source(parameters)}"


def _by_f_string(snippet: Snippet, literal: ast.Constant, parameters: ast.expr) -> str:
    """Return the literal as an f-string that holds the values; blank if it would be hard to read or wrong."""
    source = snippet.source(literal)
    values = _values(snippet, parameters)
    found = list(_PLACEHOLDER.finditer(source))
    plain = re.fullmatch(r"(\"\"\"|'''|\"|')(?:(?!\1).)*\1", source, re.DOTALL)
    odd = any(mark in value for value in values.values() for mark in "\"'\\{}")
    if not plain or not found or odd or any(mark in source for mark in ("\\", "{", "}", "%%")):
        return ""
    keys = [match["key"] or match["name"] or str(i) for i, match in enumerate(found)]
    if set(keys) != set(values):
        return ""
    quote, order = _inner_quote(source), iter(keys)
    return "f" + _PLACEHOLDER.sub(lambda m: _quoted(source, m, f"{{{values[next(order)]}}}", quote), source)


def _values(snippet: Snippet, parameters: ast.expr) -> dict[str, str]:
    """Return the source of each value by its place or key; nothing if they are not written out."""
    if isinstance(parameters, (ast.Tuple, ast.List)):
        found = {str(i): value for i, value in enumerate(parameters.elts)}
    elif isinstance(parameters, ast.Dict):
        pairs = zip(parameters.keys, parameters.values, strict=True)
        found = {str(key.value): value for key, value in pairs if isinstance(key, ast.Constant)}
    else:
        return {}
    if not all(isinstance(value, _VALUE) for value in found.values()):
        return {}
    return {key: snippet.source(value) for key, value in found.items()}


def _quoted(source: str, match: re.Match[str], value: str, quote: str) -> str:
    return value if _BARE.search(source[1 : match.start()]) else f"{quote}{value}{quote}"


def _inner_quote(source: str) -> str:
    return "'" if source.lstrip("rRbBuU").startswith('"') else '"'
