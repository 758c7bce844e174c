"""Models and SAEs by hub id, from a server on loopback that speaks the hub's file protocol."""

import re
import shutil
import socket

import pytest
import torch
from hub_server import ask_hub, serving_hub
from toy import identity_sae

from sae_tracks.errors import UsageError
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, load_lm
from sae_tracks.lm.protocol import describe
from sae_tracks.names import PINNED
from sae_tracks.pretrain.pretrain import save_model
from sae_tracks.sae import save_sae

((KNOWN, PIN),) = PINNED.items()
COMMITS = {"main": "a" * 40, "v1": "b" * 40}
SCRIPT = """
import sys
from sae_tracks import load_lm, load_sae
lm = load_lm(sys.argv[1], layer=2, device="cpu")
print(lm.model_id, lm.revision, lm.checksum, load_sae("me/sae").d_sae)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """What the hub holds: repository/revision -> folder."""
    root = tmp_path_factory.mktemp("hub")
    for seed, commit in enumerate(COMMITS.values()):
        torch.manual_seed(seed)
        save_model(HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=66)), root / "me/lm" / commit)
        save_sae(identity_sae(), root / "me/sae" / commit)
    for commit in (PIN, COMMITS["main"]):
        shutil.copytree(root / "me/lm" / COMMITS["main"], root / KNOWN / commit)
    return root


@pytest.fixture(scope="module")
def hub(folders):
    """The address of a server of these files; every revision resolves to a commit."""
    with serving_hub(folders, dict(COMMITS)) as address:
        yield address


@pytest.fixture(scope="module")
def load(warm_python):
    """Run a script on a model's id, with a hub and a cache."""
    return lambda hub, cache, model, script=SCRIPT, **more: ask_hub(
        hub, cache, warm_python, "-c", script, model, **more
    )


@pytest.mark.parametrize(
    ("model", "commit"), [("me/lm", "a" * 40), ("me/lm@v1", "b" * 40), ("me/lm@" + "b" * 40, "b" * 40)]
)
def test_a_hub_id_loads_the_revision_asked_for(load, hub, folders, tmp_path, model, commit):
    out = load(hub, tmp_path, model)
    assert out.returncode == 0, out.stderr
    expected = describe(load_lm(folders / "me/lm" / commit, layer=2))["weights_sha256"]
    assert out.stdout.split() == ["me/lm", commit, expected, "6"]


@pytest.mark.parametrize(("model", "commit"), [(KNOWN, PIN), (f"{KNOWN}@main", "a" * 40)])
def test_a_known_model_is_read_at_its_pinned_commit_unless_another_is_asked_for(load, hub, tmp_path, model, commit):
    out = load(hub, tmp_path, model)
    assert out.stdout.split()[:2] == [KNOWN, commit], out.stderr


def test_an_id_that_is_not_there_is_an_error_that_names_it(load, hub, tmp_path):
    out = load(hub, tmp_path, "me/none")
    assert out.returncode != 0
    assert "SaeTracksError: cannot load a language model from me/none" in out.stderr


TIMED = """
import sys, time
from sae_tracks import load_lm
from sae_tracks.errors import SaeTracksError
started = time.monotonic()
try:
    print(load_lm(sys.argv[1], 2, device="cpu").revision)
except SaeTracksError as error:
    print(error)
print(time.monotonic() - started)
"""


def test_without_a_network_the_error_comes_at_once_and_says_so(load, tmp_path):
    out = load("http://127.0.0.1:9", tmp_path, "nobody/none", script=TIMED)
    message, seconds = out.stdout.splitlines()
    assert re.match("cannot load .* nobody/none: .*http://127.0.0.1:9 does not answer .*: connect, or give", message)
    assert float(seconds) < 20  # five tries took longer
    assert "Retry" not in out.stderr


OF_AN_SAE = TIMED.replace("load_lm", "load_sae").replace(
    '(sys.argv[1], 2, device="cpu").revision', "(sys.argv[1]).d_sae"
)


def test_an_sae_without_a_network_is_refused_at_once(load, tmp_path):
    out = load("http://127.0.0.1:9", tmp_path, "nobody/none", script=OF_AN_SAE)
    message, seconds = out.stdout.splitlines()
    assert re.match("cannot load an SAE from nobody/none: .*http://127.0.0.1:9 does not answer .*: connect", message)
    assert float(seconds) < 20 and "Retry" not in out.stderr


def test_an_sae_that_was_downloaded_is_read_without_a_network(load, hub, tmp_path):
    for address in (hub, "http://127.0.0.1:9"):
        width, seconds = load(address, tmp_path, "me/sae", script=OF_AN_SAE).stdout.splitlines()
        assert width == "6" and float(seconds) < 20
    assert "no cfg.json" in load(hub, tmp_path, "me/lm", script=OF_AN_SAE).stdout


def test_an_sae_whose_weights_are_not_in_the_cache_is_an_error_that_names_the_hub(load, hub, tmp_path):
    assert load(hub, tmp_path, "me/sae", script=OF_AN_SAE).stdout.split()[0] == "6"
    for weights in tmp_path.rglob("sae_weights.safetensors"):
        weights.unlink()
    message, _ = load("http://127.0.0.1:9", tmp_path, "me/sae", script=OF_AN_SAE).stdout.splitlines()
    assert message.startswith("me/sae: the hub does not answer, and the cache has no sae_weights.safetensors of it")


def test_a_hub_that_never_answers_is_not_waited_for(load, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        out = load(address, tmp_path, "nobody/none", script=TIMED, HF_HUB_ETAG_TIMEOUT="1")
    message, seconds = out.stdout.splitlines()
    assert f"{address} does not answer" in message and float(seconds) < 20


@pytest.mark.parametrize(("model", "commit"), [("me/lm", "a" * 40), ("me/lm@" + "b" * 40, "b" * 40)])
def test_a_model_that_was_downloaded_is_read_without_a_network(load, hub, tmp_path, model, commit):
    assert load(hub, tmp_path, model, script=TIMED).stdout.split()[0] == commit
    out = load("http://127.0.0.1:9", tmp_path, model, script=TIMED)
    found, seconds = out.stdout.splitlines()
    assert found == commit, out.stderr
    assert float(seconds) < 20


@pytest.mark.parametrize(
    ("model", "reason"), [("me/none", "no folder has this name"), ("me/lm@v9", "no revision 'v9'")]
)
def test_the_error_says_what_is_not_there(load, hub, tmp_path, model, reason):
    assert reason in load(hub, tmp_path, model, script=TIMED).stdout


def test_two_revisions_of_one_model_are_refused():
    with pytest.raises(
        UsageError, match=r"^me/lm@v1 names the revision 'v1', and the revision 'v2' is given: give one$"
    ):
        load_lm("me/lm@v1", revision="v2")
