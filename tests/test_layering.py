"""Facts about who imports whom."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ["activations", "steering", "pipeline", "experiments"]  # each may import those before it
MODULES = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
BANNED = {"utils", "helpers", "common", "misc"}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path):
    """Return the modules that a file imports: for `from a.b import c` both `a.b` and `a.b.c`."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import absolutely"
            names |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_its_own_layer_and_those_below(path):
    layer = LAYERS.index(path.relative_to(ROOT).parts[0])
    above = set(LAYERS[layer + 1 :]) | {"tests"}
    assert not above & {name.partition(".")[0] for name in imported_modules(path)}


@pytest.mark.parametrize("layer", LAYERS)
def test_modules_of_a_package_do_not_import_each_other_in_a_circle(layer):
    names = {name_of(path) for path in MODULES}
    graph = {
        name_of(path): {name for name in imported_modules(path) if name in names and name != name_of(path)}
        for path in MODULES
        if path.relative_to(ROOT).parts[0] == layer
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("layer", LAYERS)
def test_a_module_does_not_import_from_the_front_of_its_own_package(layer):
    for path in MODULES:
        if path.relative_to(ROOT).parts[0] == layer and path.name != "__init__.py":
            front = {name for name in imported_modules(path) if name == layer}
            assert not front, f"{path}: import from {layer}'s modules"


def test_no_module_has_a_name_that_says_nothing():
    names = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not names & BANNED
