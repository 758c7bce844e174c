"""A model with code of its own by hub id: code, weights and tokenizer of the one commit that was asked for."""

import lm_zoo
import pytest
from hub_server import ask_hub
from test_hub_id import COMMITS, hub  # noqa: F401 (a fixture)

CODE = """
from transformers import EsmConfig
from transformers.models.esm.modeling_esm import EsmForMaskedLM
class Config(EsmConfig):
    model_type = "owngene"
class Model(EsmForMaskedLM):
    config_class = Config
print("code of {commit}")
"""
SCRIPT = """
import sys
from sae_tracks import load_lm
lm = load_lm(sys.argv[1], 2, device="cpu", trust_remote_code=sys.argv[2] == "yes")
print(lm.model_id, lm.revision)
"""
FIND = """
import sys
from sae_tracks.lm.pretrained import find_pretrained
found = find_pretrained(sys.argv[1], trust_remote_code=True)
print(found.model_type, found.commit)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """What the hub holds: repository/revision -> folder."""
    root = tmp_path_factory.mktemp("hub")
    for commit in COMMITS.values():
        folder = lm_zoo.six_mers(root / "me/own" / commit)
        (folder / "own.py").write_text(CODE.format(commit=commit))
        classes = {"AutoConfig": "own.Config", "AutoModelForMaskedLM": "own.Model"}
        lm_zoo.edit_config(folder, model_type="owngene", auto_map=classes)
    borrowed = lm_zoo.six_mers(root / "me/borrowed" / COMMITS["main"])
    lm_zoo.edit_config(borrowed, "tokenizer_config.json", auto_map={"AutoTokenizer": ["me/own--own.Tokenizer", None]})
    without = lm_zoo.six_mers(root / "me/without" / COMMITS["main"])
    (without / "tokenizer_config.json").unlink()
    return root


@pytest.fixture(scope="module")
def load(warm_python):
    """Run a script on words, with a hub and a cache."""
    return lambda address, cache, *words, script=SCRIPT: ask_hub(address, cache, warm_python, "-c", script, *words)


@pytest.mark.parametrize(("model", "commit"), [("me/own", "a" * 40), ("me/own@v1", "b" * 40)])
def test_code_that_is_trusted_is_that_of_the_commit(load, hub, tmp_path, model, commit):  # noqa: F811
    out = load(hub, tmp_path, model, "yes")
    assert out.returncode == 0, out.stderr
    assert set(out.stdout.splitlines()) == {f"code of {commit}", f"me/own {commit}"}


def test_code_that_is_not_trusted_is_not_even_fetched(load, hub, tmp_path):  # noqa: F811
    out = load(hub, tmp_path, "me/own", "no")
    assert "me/own brings Python code of its own" in out.stderr
    assert "code of" not in out.stdout
    assert not list(tmp_path.rglob("own.py"))


def test_a_tokenizer_of_another_repository_is_not_even_fetched(load, hub, tmp_path):  # noqa: F811
    out = load(hub, tmp_path, "me/borrowed", "yes")
    assert "me/borrowed takes its code from me/own--own.Tokenizer, which no revision pins: it is not run" in out.stderr
    assert not list(tmp_path.rglob("own.py"))


def test_a_repository_need_not_have_a_tokenizer_configuration(load, hub, tmp_path):  # noqa: F811
    out = load(hub, tmp_path, "me/without", script=FIND)
    assert out.stdout.split() == ["esm", "a" * 40], out.stderr
