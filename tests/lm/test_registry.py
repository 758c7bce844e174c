"""Models of other packages: a real distribution with an entry point, laid on the path."""

import importlib
import sys

import pytest
from toy import identity_sae

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm import describe, load_lm
from sae_tracks.sae.directory import check_match
from sae_tracks.source import sae_language_model

MODULE = """
from sae_tracks.errors import SaeTracksError
from toy import OneHotLM

def load(argument, layer, *, hook, revision, device):
    lm = OneHotLM()
    lm.model_id, lm.layer, lm.asked = f"onehot:{argument}", layer, (hook, revision, device)
    return lm

def nameless(argument, layer, *, hook, revision, device):
    return OneHotLM()

def other(argument, layer, *, hook, revision, device):
    return object()

def narrow(argument):
    return OneHotLM()

def failing(argument, layer, *, hook, revision, device):
    raise {"value": ValueError, "runtime": RuntimeError, "ours": SaeTracksError}[argument]("no weights\\nfor you")
"""
POINTS = """[sae_tracks.models]
onehot = onehot_plugin:load
nameless = onehot_plugin:nameless
other = onehot_plugin:other
narrow = onehot_plugin:narrow
failing = onehot_plugin:failing
absent = onehot_plugin_missing:load
"""


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    (tmp_path / "onehot_plugin.py").write_text(MODULE)
    info = tmp_path / "onehot_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onehot-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("onehot_plugin", None)


def test_a_plugin_gets_what_was_asked_for():
    lm = load_lm("onehot:small@v2:x", 4, revision="main", device="cpu")
    assert (lm.model_id, lm.layer, lm.asked) == ("onehot:small@v2:x", 4, (None, "main", "cpu"))
    assert lm.activations(b"AC").shape == (2, 6)


@pytest.mark.parametrize(("where", "layer"), [({}, 3), ({"hook": "blocks.1"}, None)])
def test_the_layer_is_3_where_no_module_is_named(where, layer):
    lm = load_lm("onehot:x", **where)
    assert (lm.layer, lm.asked[0]) == (layer, where.get("hook"))


def test_an_sae_finds_its_plugin_again():
    sae = identity_sae(lm=describe(load_lm("onehot:x", 3)))
    lm = sae_language_model(sae, None)
    check_match(sae, lm)
    assert lm.model_id == "onehot:x"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "evo2:7b",
            r"no model plug-in 'evo2' for evo2:7b; installed \(sae_tracks.models\): absent, failing, nameless, narrow",
        ),
        ("absent:x", r"plug-in 'absent' \(onehot_plugin_missing:load\) does not load: No module named"),
        (
            "narrow:x",
            r"'narrow' \(onehot_plugin:narrow\) does not load: TypeError: narrow\(\) got an unexpected keyword",
        ),
        ("failing:value", r"'failing' \(onehot_plugin:failing\) does not load: no weights$"),
        ("failing:runtime", r"'failing' \(onehot_plugin:failing\) does not load: no weights$"),
        ("failing:ours", r"^no weights"),
        ("nameless:x", "calls its model 'one-hot'; the model_id must be 'nameless:x'"),
        ("other:x", "gives no GeneLM: it lacks model_id, .*, activations, token_starts"),
    ],
)
def test_plugins_that_do_not_serve_are_one_line(model, message):
    with pytest.raises(SaeTracksError, match=message):
        load_lm(model, 3)


def test_a_folder_with_a_colon_in_its_name_is_a_folder(tmp_path):
    (tmp_path / "a:b").mkdir()
    with pytest.raises(SaeTracksError, match="cannot load a language model from"):
        load_lm(tmp_path / "a:b", 3)


def test_a_plugin_takes_an_argument_that_is_too_long_for_a_file_name():
    argument = "x" * 5000
    assert load_lm(f"onehot:{argument}", 3).model_id == f"onehot:{argument}"


@pytest.mark.parametrize("model", ["x" * 300, "nobody/" + "x" * 300, "x" * 5000])
def test_an_id_that_is_too_long_is_one_line(model):
    with pytest.raises(SaeTracksError, match=f"^cannot load a language model from {model[:10]}") as error:
        load_lm(model, 3)
    assert "\n" not in str(error.value)
