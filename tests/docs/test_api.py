"""The public API: every name is there, typed, documented, and costs nothing until it is used."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sae_tracks

NAMES = sae_tracks.__all__
ROOT = Path(__file__).parents[2]
ASKED_FOR = (
    *("load_lm", "load_sae", "import_sae", "Genome", "Source", "read", "stream_features", "write_bigwigs"),
    *("plan_training", "train_sae", "extract", "shuffle", "SAE", "FeatureBlock", "GenomicRegion", "Reading", "Window"),
    *("write_beds", "top_examples", "score", "write_shards", "StreamedActivations"),
)


def run(python, code):
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_names_of_a_notebook_are_there():
    assert set(ASKED_FOR) <= set(NAMES) <= set(dir(sae_tracks))
    assert len(NAMES) == len(set(NAMES))


def test_type_checkers_see_the_names_that_are_loaded_from_the_same_modules():
    tree = ast.parse(Path(sae_tracks.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"sae_tracks.{module}" for name, module in sae_tracks._HOME.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_public_where_it_is_loaded_from(name):
    assert getattr(sae_tracks, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'sae_tracks' has no attribute 'laod_lm'"):
        sae_tracks.laod_lm  # noqa: B018


def test_importing_the_package_loads_nothing_else():
    code = "import sys; before = set(sys.modules); import sae_tracks; print(*set(sys.modules) - before)"
    names = run(sys.executable, code).split()
    loaded = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}
    assert loaded == {"sae_tracks"}


def test_help_shows_every_name(warm_python):
    text = run(warm_python, "import sae_tracks; help(sae_tracks)")
    for name in NAMES:
        assert name in text


def test_a_star_import_brings_the_api(warm_python):
    code = "from sae_tracks import *; print(*sorted(n for n in dir() if not n.startswith('_')))"
    assert run(warm_python, code).split() == sorted(NAMES)


def members():
    """(label, function or class) of the API: its names, and the public methods of its classes."""
    for name in NAMES:
        thing = getattr(sae_tracks, name)
        yield name, thing
        if inspect.isclass(thing):
            for key, value in vars(thing).items():
                if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                    yield f"{name}.{key}", value


@pytest.mark.parametrize(("label", "thing"), [pytest.param(*pair, id=pair[0]) for pair in members()])
def test_every_name_and_method_has_a_docstring(label, thing):
    text = inspect.getdoc(thing)
    assert text and text != "Initialize self.  See help(type(self)) for accurate signature."
    assert text.splitlines()[0].endswith("."), "the first line is one sentence"


@pytest.mark.parametrize("name", [n for n in NAMES if inspect.isfunction(getattr(sae_tracks, n))])
def test_functions_document_every_parameter_and_what_they_return(name):
    function = getattr(sae_tracks, name)
    text = inspect.getdoc(function) or ""
    described = text.partition("Parameters\n----------\n")[2]
    for parameter in inspect.signature(function).parameters:
        heads = [line.partition(" : ")[0] for line in described.splitlines() if line and not line.startswith(" ")]
        assert any(parameter in head.split(", ") for head in heads), f"{name} does not describe {parameter}"
    if inspect.signature(function).return_annotation not in (None, "None"):
        assert "Returns\n-------" in text or "Yields\n------" in text, f"{name} does not say what it returns"


def test_the_reference_is_that_of_the_docstrings(warm_python):
    script = ROOT / "docs" / "make_api_reference.py"
    out = subprocess.run([warm_python, script, "--check"], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
