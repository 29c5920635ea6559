"""Python snippets as text to edit: what a name stands for, where a node is, and how imports follow an edit.

Snippets are parsed and never run.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_FENCE = re.compile(r"^```(?:python|py)?[ \t]*\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Edit:
    """A stretch of text that is replaced."""

    start: int
    end: int
    new: str


@dataclass(frozen=True, kw_only=True)
class Change:
    """Edits that belong together.

    Attributes:
        edits: Stretches that do not overlap.
        needs: Import statements that the new text asks for.
    """

    edits: tuple[Edit, ...]
    needs: tuple[str, ...] = ()


def snippets(answer: str) -> tuple[tuple[int, int], ...]:
    """Return where the Python code of an answer stands: its fenced blocks, or all of it if it is bare code."""
    fenced = tuple(match.span("code") for match in _FENCE.finditer(answer))
    if fenced or "```" in answer:
        return fenced
    return ((0, len(answer)),) if Snippet.parses(answer) and "\n" in answer.strip() else ()


@dataclass(frozen=True)
class Snippet:
    """Python source with its syntax tree.

    Attributes:
        text: The source.
        tree: Its syntax tree.
    """

    text: str
    tree: ast.Module = field(repr=False)

    @classmethod
    def of(cls, text: str) -> "Snippet":
        """Parse a snippet.

        Raises:
            ValueError: It is not Python, or its lines end in carriage returns.
        """
        if "\r" in text:
            raise ValueError("the snippet holds carriage returns; lines must end in a newline alone")
        try:
            return cls(text, ast.parse(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"the snippet is not Python: {error}") from error

    @staticmethod
    def parses(text: str) -> bool:
        """Whether a text is Python."""
        try:
            Snippet.of(text)
        except ValueError:
            return False
        return True

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Yield the calls of functions by their full names, e.g. `yaml.safe_load`; without names all calls."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and (not names or self.name_of(node.func) in names):
                yield node

    def name_of(self, node: ast.expr) -> str:
        """Return what a name or attribute stands for through the imports, e.g. `ast.literal_eval`; blank if unclear."""
        if isinstance(node, ast.Name):
            return self._imported().get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self.name_of(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""

    def assigned(self, name: str) -> ast.Assign | None:
        """Return the statement that gives a name its value, if it is the only one and does nothing else."""
        found = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name
        ]
        plain = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and node.targets[0] in found
        ]
        return plain[0] if len(found) == len(plain) == 1 else None

    def imports(self) -> Iterator[ast.Import | ast.ImportFrom]:
        """Yield the import statements."""
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                yield node

    def modules(self) -> set[str]:
        """Return the modules that are imported, or imported from."""
        plain = {
            alias.name for node in self.imports() if isinstance(node, ast.Import) for alias in node.names
        }
        return plain | {node.module or "" for node in self.imports() if isinstance(node, ast.ImportFrom)}

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[int, int]:
        """Return where a node stands in the text."""
        return (
            self._place(node.lineno, node.col_offset),
            self._place(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset),
        )

    def source(self, node: ast.expr | ast.stmt | ast.keyword) -> str:
        """Return the text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def replaced(self, node: ast.expr | ast.stmt | ast.keyword, new: str) -> Edit:
        """Return the edit that puts other text in the place of a node."""
        return Edit(*self.span(node), new)

    def without_line(self, statement: ast.stmt) -> Edit:
        """Return the edit that takes a statement out together with its line."""
        start, end = self.span(statement)
        line = self.text.rfind("\n", 0, start) + 1
        after = self.text.find("\n", end)
        return Edit(line, len(self.text) if after < 0 else after + 1, "")

    def edited(self, change: Change) -> str:
        """Return the text with a change made, and imports added and dropped as it needs.

        Raises:
            ValueError: What comes out is not Python.
        """
        changed = Snippet.of(applied(self.text, change.edits))
        return changed._with_imports(change.needs, dropped=self._used() - changed._used())

    def _with_imports(self, needs: Sequence[str], dropped: set[str]) -> str:
        """Return the text without the imported names that nothing uses any more, and with new imports."""
        edits, bound = [], self._imported()
        wanted = [line for line in needs if line.rpartition(" ")[2] not in bound]
        for statement in self.imports():
            left = [alias for alias in statement.names if _bound(alias) not in dropped]
            if len(left) == len(statement.names):
                continue
            lines = [self._import(statement, left)] if left else []
            lines, wanted = [*lines, *wanted], []
            edits.append(
                self.replaced(statement, "\n".join(lines)) if lines else self.without_line(statement)
            )
        if wanted:
            edits.append(Edit(*2 * (self._first_import(),), "".join(f"{line}\n" for line in wanted)))
        changed = applied(self.text, edits)
        return changed if Snippet.of(changed) else changed

    def _import(self, statement: ast.Import | ast.ImportFrom, names: Sequence[ast.alias]) -> str:
        told = ", ".join(f"{name.name} as {name.asname}" if name.asname else name.name for name in names)
        if isinstance(statement, ast.ImportFrom):
            return f"from {'.' * statement.level}{statement.module or ''} import {told}"
        return f"import {told}"

    def _first_import(self) -> int:
        """Return where an import may be added: before the first one, else before the first statement."""
        top = [node for node in self.tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        plain = [
            node for node in top if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
        ]
        first = (plain or self.tree.body)[:1]
        return self.span(first[0])[0] if first else 0

    def _imported(self) -> dict[str, str]:
        found = {}
        for node in self.imports():
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
            for alias in node.names:
                plain = alias.name if alias.asname or module else alias.name.partition(".")[0]
                found[_bound(alias)] = f"{module}{plain}"
        return found

    def _used(self) -> set[str]:
        return {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}

    def _place(self, line: int, column: int) -> int:
        """Turn the parser's line and byte into a place in the text."""
        lines = self.text.split("\n")
        before = sum(len(text) + 1 for text in lines[: line - 1])
        return before + len(lines[line - 1].encode()[:column].decode())


def applied(text: str, edits: Sequence[Edit]) -> str:
    """Return a text with edits made.

    Raises:
        ValueError: Two edits overlap.
    """
    parts, at = [], 0
    for edit in sorted(edits):
        if edit.start < at:
            raise ValueError("two edits overlap")
        parts += [text[at : edit.start], edit.new]
        at = edit.end
    return "".join([*parts, text[at:]])


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]
