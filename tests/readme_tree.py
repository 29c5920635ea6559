"""The tree in the README, made from the modules' docstrings: `python tests/readme_tree.py` writes it there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("activations", "steering", "pipeline", "experiments")
BLOCK = re.compile(r"(## The tree\n.*?```text\n)(.*?)(```)", re.DOTALL)


def tree() -> str:
    """Return every module with the first line of its docstring."""
    lines = []
    for package in PACKAGES:
        modules = sorted((ROOT / package).rglob("*.py"), key=lambda path: (len(path.parts), path.parts))
        folders = sorted({path.parent for path in modules})
        for folder in folders:
            first = _phrase(folder / "__init__.py")
            lines.append(f"{str(folder.relative_to(ROOT)) + '/':32}{first}")
            own = [path for path in modules if path.parent == folder and path.name != "__init__.py"]
            lines += [f"    {path.name:28}{_phrase(path)}" for path in own]
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _phrase(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = text.partition("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[a-z`)])(?<!e\.g)[.;] ", first + " ")[0].rstrip(". ")


if __name__ == "__main__":
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(BLOCK.sub(lambda m: m[1] + tree() + m[3], text), encoding="utf-8")
