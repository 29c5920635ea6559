"""Facts about the names that a package shows."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [p for p in ("activations", "steering", "pipeline") if (ROOT / p / "__init__.py").is_file()]


def constants_then_classes_then_functions(name):
    return not name.isupper(), not name[0].isupper(), name


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_sorted_and_names_exactly_what_the_package_imports(name):
    package = importlib.import_module(name)
    nodes = ast.parse((ROOT / name / "__init__.py").read_text()).body
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    shown = [alias.asname or alias.name for node in imports for alias in node.names]
    assert list(package.__all__) == sorted(shown, key=constants_then_classes_then_functions)
    assert all(hasattr(package, own) for own in package.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_says_what_it_is(name):
    package = importlib.import_module(name)
    for own in package.__all__:
        thing = getattr(package, own)
        if callable(thing) and getattr(thing, "__module__", "").startswith(name):
            assert thing.__doc__, own
