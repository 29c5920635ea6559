"""Insecure twins of commands: one line for a shell in place of a list of arguments."""

import ast
import shlex
from collections.abc import Iterator

from pipeline.recipe.python_source import Change, Edit, Snippet

_RUNNERS = tuple(f"subprocess.{name}" for name in ("run", "call", "check_call", "check_output", "Popen"))
_VALUE = (ast.Name, ast.Attribute, ast.Subscript)


def shell_changes(snippet: Snippet) -> Iterator[Change]:
    """Yield, for each command given as a list, a twin that pastes the arguments into a line for the shell."""
    for call in snippet.calls(*_RUNNERS):
        arguments = _arguments(snippet, call)
        line = _line(snippet, arguments) if arguments else ""
        shell = next((keyword for keyword in call.keywords if keyword.arg == "shell"), None)
        if arguments is None or not line or (shell is not None and snippet.source(shell.value) != "False"):
            continue
        behind = snippet.span(call.args[0])[1]
        switch = snippet.replaced(shell.value, "True") if shell else Edit(behind, behind, ", shell=True")
        yield Change(edits=(snippet.replaced(arguments, line), switch))


def _arguments(snippet: Snippet, call: ast.Call) -> ast.List | None:
    """Return the list of arguments: in place, or assigned to its name just once and used just there."""
    given: ast.expr | None = call.args[0] if call.args else None
    if isinstance(given, ast.Name):
        name = given.id
        assigned = snippet.assigned(name)
        used = [node for node in ast.walk(snippet.tree) if isinstance(node, ast.Name) and node.id == name]
        given = assigned.value if assigned and len(used) == 2 else None
    return given if isinstance(given, ast.List) else None


def _line(snippet: Snippet, arguments: ast.List) -> str:
    """Return the arguments as an f-string; blank if nothing from outside is in it or it cannot be written."""
    words = [_word(snippet, argument) for argument in arguments.elts]
    text = " ".join(words)
    if not all(words) or "{" not in text or any(mark in text for mark in '"\\\n'):
        return ""
    return f'f"{text}"'


def _word(snippet: Snippet, argument: ast.expr) -> str:
    """Return an argument as a part of an f-string; blank if it cannot be one."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return shlex.quote(argument.value).replace("{", "{{").replace("}", "}}")
    if isinstance(argument, ast.JoinedStr):
        source = snippet.source(argument)
        return source[2:-1] if source[:2] in ('f"', "f'") and source[2:3] != source[1:2] else ""
    if isinstance(argument, ast.Call) and snippet.name_of(argument.func) in ("str", "os.fspath"):
        argument = argument.args[0] if argument.args else argument
    return f"{{{snippet.source(argument)}}}" if isinstance(argument, _VALUE) else ""
