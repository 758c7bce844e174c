"""Models of other packages: a real distribution with an entry point, laid on the path."""

import importlib
import sys

import pytest
from toy import identity_sae, random_dna, write_fasta

from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import describe, load_lm
from sae_tracks.reading import read
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


BROKEN = """
import torch
from toy import OneHotLM

class Broken(OneHotLM):
    def __init__(self, how):
        super().__init__(600)
        self.model_id, self.how = f"broken:{how}", how
        wrong = {"width": ("d_model", 7), "d_model": ("d_model", 6.0), "causal": ("causal", "yes")}
        setattr(self, *wrong.get(how, ("max_length", 0 if how == "tokens" else 600)))

    def activations(self, sequence):
        if self.how == "long" and len(sequence) > 512:
            raise IndexError("index out of range\\nin self")
        x = self.rows(sequence)
        return {
            "nan": x * float("nan"), "short": x[1:], "double": x.double(), "array": x.numpy(),
            "ahead": x + x.flip(0), "next": x.roll(-1, 0),
        }.get(self.how, x)

    def rows(self, sequence):
        plain = OneHotLM(self.max_length)
        return plain.activations(sequence)

    def token_starts(self, sequence):
        starts = super().token_starts(sequence)
        return {"starts": starts[1:], "numbers": starts * 1}.get(self.how, starts)

def load(argument, layer, *, hook, revision, device):
    return Broken(argument)
"""


@pytest.fixture
def broken(tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text(BROKEN)
    info = tmp_path / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sae_tracks.models]\nbroken = broken_plugin:load\n")
    importlib.invalidate_caches()
    yield
    sys.modules.pop("broken_plugin", None)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "width",
            r"activations of 512 bases are a tensor of float32 \(512, 6\), expected a tensor of float32 \(512, 7\)",
        ),
        (
            "short",
            r"activations of 512 bases are a tensor of float32 \(511, 6\), expected a tensor of float32 \(512, 6\)",
        ),
        ("double", r"are a tensor of float64 \(512, 6\), expected a tensor of float32"),
        ("array", "activations of 512 bases are an array of float32"),
        ("starts", r"token_starts of 512 bases are an array of bool \(511,\), expected an array of bool \(512,\)"),
        ("numbers", r"token_starts of 512 bases are an array of int64 \(512,\), expected an array of bool"),
        ("nan", "broken:nan: activations at c:1-600 are not finite"),
        ("long", "broken:long cannot read 600 bases: IndexError: index out of range$"),
        ("ahead", "says that broken:ahead is causal, but its activations change .*: causal must be False"),
        ("next", "says that broken:next is causal"),
        ("causal", "causal is 'yes'; it must be True or False"),
        ("tokens", "max_length is 0; it must be a whole number from 1"),
        ("d_model", "d_model is 6.0; it must be a whole number from 1"),
    ],
)
def test_a_plugin_that_does_not_do_what_it_declares_is_one_line(broken, tmp_path, how, message):
    genome = Genome(write_fasta(tmp_path / "g.fa", c=random_dna(600)))
    with pytest.raises(SaeTracksError, match=message) as error:
        list(read(load_lm(f"broken:{how}", 3), genome))
    assert "\n" not in str(error.value)


def test_a_plugin_that_keeps_its_promises_is_read(broken, tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", c=random_dna(600)))
    assert sum(len(part.region) for part in read(load_lm("broken:not", 3), genome)) == 600
