"""SAEs named by hub id and revision, from a server on loopback that speaks the hub's protocol."""

import json

import pytest
from hub_server import ask_hub, serving_hub
from toy import identity_sae

from sae_tracks import load_sae
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import values_differ
from sae_tracks.sae import save_sae
from sae_tracks.sae.hub import HubId, hub_id

COMMITS = {"main": "a" * 40, "v1": "b" * 40, "feature/x": "c" * 40}


@pytest.fixture(scope="module")
def saes(tmp_path_factory):
    """One repository, whose SAE differs between revisions."""
    root = tmp_path_factory.mktemp("hub")
    for number, commit in enumerate(COMMITS.values()):
        sae = identity_sae()
        sae.b_enc[0] = number + 1.0
        save_sae(sae, folder := root / "me/sae" / commit)
        evaluation = {"format_version": 1, "sae_sha256": sae.checksum, "l0": 1.0, "regions": ["chr1:1-9"], "bases": 9}
        evaluation |= {"recovered_mean": 0.9, "recovered_zero": 0.9, "nats_lm": 1, "nats_sae": 1, "nats_mean": 2}
        evaluation |= {"nats_zero": 2, "trained_bases": 0}
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
    (root / "me/sae" / COMMITS["v1"] / "feature_stats.parquet").unlink()  # as SAELens writes it
    return root


@pytest.fixture(scope="module")
def hub(saes):
    with serving_hub(saes, dict(COMMITS)) as address:
        yield address


LOAD = """
import sys
from sae_tracks import load_sae
from sae_tracks.errors import SaeTracksError
for name in sys.argv[1:]:
    try:
        sae = load_sae(name)
        print(sae.origin, sae.checksum, sae.stats is not None, sae.folder)
    except SaeTracksError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def python(warm_python):
    """Run Python, with a hub and a cache."""
    return lambda hub, cache, *words, cwd=None: ask_hub(hub, cache, warm_python, *words, cwd=cwd)


def test_each_way_to_name_a_revision_gives_its_commit_and_weights(python, hub, saes, tmp_path):
    asked = {
        "hf:me/sae": "main",
        "me/sae": "main",
        "hf:me/sae@v1": "v1",
        "me/sae@v1": "v1",
        f"hf:me/sae@{'b' * 40}": "v1",
        "hf:me/sae@feature/x": "feature/x",
    }
    out = python(hub, tmp_path, "-c", LOAD, *asked)
    expected = {name: load_sae(saes / "me/sae" / commit).checksum for name, commit in COMMITS.items()}
    assert len(set(expected.values())) == 3
    assert out.stdout.splitlines() == [
        f"hf:me/sae@{COMMITS[name]} {expected[name]} {name != 'v1'} None" for name in asked.values()
    ], out.stderr


def test_what_was_downloaded_is_read_again_without_a_network(python, hub, saes, tmp_path):
    names = ["hf:me/sae", f"hf:me/sae@{'a' * 40}", "hf:me/sae@v1", f"hf:me/sae@{'b' * 40}"]
    online = python(hub, tmp_path, "-c", LOAD, *names)
    offline = python("http://127.0.0.1:9", tmp_path, "-c", LOAD, *names)
    assert offline.stdout == online.stdout and online.stdout.count("hf:me/sae@") == 4, offline.stderr


def test_what_is_not_there_is_one_line_that_says_so(python, hub, tmp_path):
    out = python(hub, tmp_path, "-c", LOAD, "hf:me/sae@v9", "hf:me/none", "hf:me", "me/sae@", "none/", "a/b/c")
    revision, repository, malformed, *paths = out.stdout.splitlines()
    assert "it has no revision 'v9'" in revision
    assert "has no such repository" in repository
    assert malformed == "hf:me is no id of a repository of the hub: write hf:owner/name or hf:owner/name@revision"
    assert all(line.startswith("no folder ") for line in paths) and len(paths) == 3, paths


def test_a_local_folder_goes_before_the_hub_unless_hf_is_said(python, hub, saes, tmp_path):
    local = identity_sae()
    local.b_enc[0] = 9.0
    save_sae(local, tmp_path / "me/sae")
    out = python(hub, tmp_path / "cache", "-c", LOAD, "me/sae", "hf:me/sae", cwd=tmp_path)
    ours, theirs = out.stdout.splitlines()
    assert ours == f"None {local.checksum} True me/sae"
    assert theirs.startswith(f"hf:me/sae@{'a' * 40} ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:me/sae", HubId("me/sae", None)),
        ("me/sae@v1.0", HubId("me/sae", "v1.0")),
        ("/me/sae", None),
        ("me/sae/deep", None),
        ("sae", None),
        ("me/sae@../x", None),
    ],
)
def test_what_is_an_id(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub_id(text) == expected


@pytest.mark.parametrize("text", ["hf:", "hf:/me/sae", "hf:me/sae@", "hf:me/sae@-x", "hf:a/b/c"])
def test_hf_before_anything_else_is_refused(text):
    with pytest.raises(SaeTracksError, match="is no id of a repository of the hub"):
        hub_id(text)


def test_the_record_of_an_output_names_the_commit_and_the_same_weights_from_a_folder_are_the_same_run():
    sae = identity_sae()
    local = sae.facts
    sae.origin = f"hf:me/sae@{'a' * 40}"
    assert sae.facts == {**local, "sae_origin": f"hf:me/sae@{'a' * 40}"}
    assert values_differ(sae.facts, local) is None
    assert values_differ(sae.facts, {"sae_sha256": "0"}) == "sae_sha256"


def test_info_and_export_take_an_id_and_evaluate_says_where_to_write(python, hub, tmp_path):
    main = ("-m", "sae_tracks")
    info = python(hub, tmp_path, *main, "info", "hf:me/sae@v1", "--against", "hf:me/sae", "--json")
    record = json.loads(info.stdout)
    assert record["origin"] == f"hf:me/sae@{'b' * 40}" and record["evaluation"]["recovered_mean"] == 0.9, info.stderr
    assert record["against"][0]["sae"] == "hf:me/sae"
    exported = python(hub, tmp_path, *main, "export-sae", "hf:me/sae", "--to", "saelens", "-o", tmp_path / "x")
    assert exported.returncode == 0 and (tmp_path / "x/cfg.json").is_file(), exported.stderr
    refused = python(hub, tmp_path, *main, "evaluate", "hf:me/sae", "x.fa")
    assert refused.stderr == "error: hf:me/sae is not a local folder: name the file to write with -o\n"
