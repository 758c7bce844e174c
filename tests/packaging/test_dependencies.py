"""Every package that is imported is asked for, every package that is asked for is imported, and all say why."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
TOOLS = {"test", "lint", "saelens", "bench", "site"}  # extras that the package itself never imports
BY_TORCH = {"tensorboard"}  # which imports it
IMPORTED_AS = {"umap-learn": "umap"}
WHY = (ROOT / "CONTRIBUTING.md").read_text().split("## Dependencies")[1]


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement)[0]


def names(*extras):
    asked = [*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    return {IMPORTED_AS.get(name_of(line), name_of(line)).replace("-", "_") for line in asked}


def imported():
    """Third-party modules that the package imports, at the top or inside a function."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "src").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    found = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    found += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) - {"sae_tracks"}


def test_what_is_imported_is_what_is_asked_for():
    assert imported() | BY_TORCH == names(*(extra for extra in EXTRAS if extra not in TOOLS))


@pytest.mark.parametrize("line", PROJECT["dependencies"], ids=name_of)
def test_a_dependency_has_a_reason(line):
    assert re.search(rf"^\| .*\b{name_of(line)}\b.* \| \S.+ \|$", WHY, re.M)


@pytest.mark.parametrize("extra", [extra for extra in EXTRAS if extra != "lint"])
def test_an_extra_or_what_it_installs_has_a_reason(extra):
    for line in EXTRAS[extra]:
        assert re.search(rf"(?i)\b{name_of(line)}\b|`{extra}`", WHY), line


def test_the_development_environment_has_a_version_of_each():
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    asked = {name_of(line).lower().replace("_", "-") for extra in EXTRAS for line in EXTRAS[extra]}
    asked |= {name_of(line).lower().replace("_", "-") for line in PROJECT["dependencies"]}
    assert asked - pinned <= {"sae-lens"}  # which would pin what it does not need
