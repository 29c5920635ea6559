"""The README's code runs as pasted and prints what it shows; its tree is the tree; its files are there."""

import contextlib
import io
import re

from tests.readme_tree import BLOCK, ROOT, tree

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_python_block_runs_as_pasted_and_prints_what_it_shows():
    blocks = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == README.count("```python") >= 2
    namespace: dict[str, object] = {}
    for code, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), namespace)
        assert printed.getvalue() == shown


def test_the_tree_is_the_tree():
    found = BLOCK.search(README)
    assert found is not None
    assert found[2] == tree()


def test_every_picture_and_file_that_the_readme_links_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert all((ROOT / link).exists() for link in links)
