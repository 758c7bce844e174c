"""publish: a folder that the hub, SAELens and sae-tracks take, without a trace of this machine, and its upload."""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from command_line import run
from hub_server import ask_hub, serving_hub
from toy import random_sae, unit_stats

from sae_tracks.browsers.hub import write_hub
from sae_tracks.controls.verdict import OUTCOMES
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.evaluate.info import sae_record
from sae_tracks.sae import load_sae, save_sae
from sae_tracks.sharing.publish import publish
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs

SECRET = "/home/jane/secret"
LM = {"model": "owner/lm", "revision": "abc", "weights_sha256": "0" * 64, "layer": 3, "hook_name": "blocks.2"}
ROWS = [  # concept, tf, strand, feature, F1, average precision, verdict
    ("A", "", "+", "f0", 0.9, 0.9, "local-sequence"),
    ("CDS", "", "+", "f1", 0.8, 0.7, "supported"),
    ("stop|codon<b>", "", "-", "f2", 0.1, 0.05, "supported"),
    ("MA1.1", "X", "+", "f3", 0.2, 0.1, "chance"),
    ("ARS", "", ".", "f4", 0.2, 0.1, "low-power"),
    ("tRNA", "", "+", "f5", 0.2, 0.1, "not-tested"),
]
COLUMNS = ["concept", "tf", "site_strand", "feature", "f1", "site_average_precision", "verdict"]


def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


@pytest.fixture
def made(tmp_path):
    """An SAE with an evaluation, its scores and its tracks, all of whose records name folders of this machine."""
    sae = replace(random_sae(8, 40, "topk"), stats=unit_stats(40))
    training = {"arch": "topk", "l1": 3.0, "seed": 7, "rows": 5000, "data_rows": 2500}
    sae.metadata = {"lm": LM, "genome": {"chr1": {"length": 9, "M5": "0"}}, "read_strands": ["+"], "training": training}
    sae.metadata["from"] = f"{SECRET}/act"
    save_sae(sae, tmp_path / "sae")
    nats = {"nats_lm": 1.0, "nats_sae": 1.04, "nats_mean": 1.4, "nats_zero": 1.8, "recovered_zero": 0.95}
    numbers = {"recovered_mean": 0.9, "l0": 1.25, "fvu": 0.125, "bases": 1234, "trained_bases": 0, **nats}
    facts = {"format_version": 1, "sae_sha256": sae.checksum, "regions": ["chr2:1-1234"]}
    write(tmp_path / "sae/evaluation.json", {**facts, **numbers, "genome": {"path": f"{SECRET}/hg38.fa"}})
    write(tmp_path / "sae/provenance.json", {"command": f"sae-tracks train {SECRET}/act -o {SECRET}/sae"})
    scores = tmp_path / "scores"
    scored = {"sae_sha256": sae.checksum, "regions": ["chr2:1-1234"], "annotations": {f"{SECRET}/genes.gtf": "1"}}
    scored["lm"] = {"model": f"{SECRET}/lm", "layer": 3}
    write(scores / "provenance.json", scored)
    pd.DataFrame(ROWS, columns=COLUMNS).to_csv(scores / "metrics.tsv", sep="\t", index=False)
    (scores / "methods.txt").write_text(f"Features on {SECRET}/lm were scored.\n")
    np.savez(scores / "counts.npz", feature=np.arange(40))
    tracks = tmp_path / "tracks"
    tracks.mkdir()
    runs = make_runs(np.array([10]), np.array([20]), np.float32([1]))
    write_bigwig(tracks / "f1.bw", {"chr2": 1234}, [("chr2", runs)], 8)
    write(tracks / "provenance.json", {"sae_sha256": sae.checksum, "genome": {"path": f"{SECRET}/hg38.fa"}})
    (tracks / "session.xml").write_text(f"<Session>{SECRET}</Session>")
    write_hub(tracks, assembly="toy1", email="jane@uni.edu")
    return tmp_path


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_folder_has_all_parts_and_no_folder_of_this_machine(made):
    out = made / "out"
    found = publish(made / "sae", out, scores=made / "scores", hub=made / "tracks", to="me/my-sae", license="mit")
    files = contents(out)
    assert set(files) == {
        *("README.md", "SHA256SUMS", "cfg.json", "sae_weights.safetensors", "feature_stats.parquet"),
        *("evaluation.json", "provenance.json", "metrics/metrics.tsv", "metrics/methods.txt"),
        *("metrics/provenance.json", "report/index.html", "report/metrics.tsv", "report/provenance.json"),
        *("hub/hub.txt", "hub/description.html", "hub/f1.bw", "hub/provenance.json"),
    }
    assert (found.files, found.size) == (len(files), sum(map(len, files.values())))
    assert found.command == f"hf upload me/my-sae {out}" and found.uploaded is None and not found.warnings
    for name, data in files.items():
        assert SECRET.encode() not in data and str(made).encode() not in data, name
    sums = dict(reversed(line.split("  ")) for line in files.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert files["sae_weights.safetensors"] == (made / "sae/sae_weights.safetensors").read_bytes()
    assert b"on lm after block 3 were scored against genes.gtf" in files["metrics/methods.txt"]
    ours, theirs = sae_record(out, out / "metrics"), sae_record(made / "sae", made / "scores")
    assert all(ours[key] == theirs[key] for key in ("checksum", "lm", "settings", "fvu", "faithful", "reasons"))
    assert ours["yield"]["verdicts"] == theirs["yield"]["verdicts"]


def test_the_card_says_what_was_found_and_what_that_does_not_show(made):
    publish(made / "sae", made / "out", scores=made / "scores", to="me/my-sae", license="mit")
    _, front, card = (made / "out/README.md").read_text().split("---\n", 2)
    data = yaml.safe_load(front)
    assert (data["license"], data["base_model"], data["library_name"]) == ("mit", "owner/lm", "sae-tracks")
    assert "sparse-autoencoder" in data["tags"]
    assert 'load_sae("hf:me/my-sae@REVISION")' in card and 'snapshot_download("me/my-sae"' in card
    assert "| supported | 2 | 50 |" in card  # of 40 features: 2 * 1000 / 40
    assert "| f1 | CDS | + | 0.80 | 0.70 |" in card
    assert r"| f2 | stop\|codon\<b\> | - | 0.10 | 0.05 |" in card
    assert "1 of 2 supported matches have an average precision below 0.5" in card
    assert "1 match on which not all tests were run" in card and "1 match has too few sites" in card
    assert "0.900 against the mean" in card and "| faithful to its language model | no: statistics" not in card
    assert all(f"| {name} |" not in card for name in set(OUTCOMES) - {row[-1] for row in ROWS[1:]})


def test_without_scores_and_evaluation_the_card_says_that_nothing_is_known(made):
    (made / "sae/evaluation.json").unlink()
    sae = load_sae(made / "sae")
    sae.metadata["lm"] = {**LM, "model": f"{SECRET}/lm"}
    save_sae(sae, made / "sae")
    publish(made / "sae", made / "out")
    card = (made / "out/README.md").read_text()
    assert "nothing is said here of what its features mean" in card and "it was not measured" in card
    assert "base_model" not in card and "license" not in card and "name your copy of it" in card
    assert "hf:OWNER/NAME@REVISION" in card and SECRET not in card
    assert load_sae(made / "out").metadata["lm"]["model"] == "lm"


def test_saelens_opens_the_folder(made):
    sae_lens = pytest.importorskip("sae_lens")
    publish(made / "sae", made / "out")
    x = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    theirs = sae_lens.SAE.load_from_disk(made / "out", device="cpu")
    torch.testing.assert_close(load_sae(made / "sae").encode(x), theirs.encode(x).detach(), rtol=1e-4, atol=1e-4)


def test_a_publication_is_replaced_and_other_folders_are_left_alone(made):
    out = made / "out"
    publish(made / "sae", out, scores=made / "scores")
    publish(made / "sae", out)
    assert not (out / "metrics").exists()
    (out / "README.md").write_text("my own words")
    before = contents(out)
    with pytest.raises(SaeTracksError, match="holds other files than `publish` wrote"):
        publish(made / "sae", out)
    with pytest.raises(SaeTracksError, match="holds other files"):
        publish(made / "sae", made / "sae")
    assert contents(out) == before
    assert not [path for path in made.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": {"sae_sha256": "1"}}, "has the scores of another SAE"),
        ({"tracks": {"sae_sha256": "1"}}, "has tracks of another SAE"),
    ],
)
def test_what_is_of_another_sae_is_refused_and_nothing_is_left(made, change, message):
    for folder, facts in change.items():
        write(made / folder / "provenance.json", facts)
    with pytest.raises(SaeTracksError, match=message):
        publish(made / "sae", made / "out", scores=made / "scores", hub=made / "tracks")
    assert not (made / "out").exists() and not [path for path in made.iterdir() if path.name.startswith(".")]


def test_a_hub_that_ucsc_refuses_is_refused(made):
    text = (made / "tracks/hub.txt").read_text()
    (made / "tracks/hub.txt").write_text(text.replace("f1.bw", "f9.bw"))
    with pytest.raises(SaeTracksError, match=r"hub/hub\.txt:\d+: error: .*f9\.bw"):
        publish(made / "sae", made / "out", hub=made / "tracks")
    (made / "tracks/hub.txt").unlink()
    with pytest.raises(SaeTracksError, match=r"has no hub\.txt"):
        publish(made / "sae", made / "out", hub=made / "tracks")


def test_usage(made):
    for arguments in ({"upload": True}, {"to": "my-sae"}, {"to": "a/b/c"}):
        with pytest.raises(UsageError, match="owner/name"):
            publish(made / "sae", made / "out", **arguments)
    done = run("publish", made / "sae", "-o", made / "out", "--to", "me/x")
    assert (done.returncode, done.stdout) == (0, f"hf upload me/x {made / 'out'}\n"), done.stderr
    assert "nothing was uploaded" in done.stderr


UPLOAD = """
import sys
from sae_tracks import load_sae, publish
from sae_tracks.errors import SaeTracksError
try:
    made = publish(sys.argv[1], sys.argv[2], scores=sys.argv[3], hub=sys.argv[4], to="me/up", upload=True)
    print(made.uploaded)
    for name in ("hf:me/up@main", made.uploaded):
        sae = load_sae(name)
        print(sae.origin, sae.checksum, sae.stats is not None)
except SaeTracksError as error:
    print(error)
"""


def test_an_upload_is_one_commit_that_loads_again(made, warm_python, tmp_path):
    hub, commits = tmp_path / "hub", {}
    arguments = [made / name for name in ("sae", "out", "scores", "tracks")]
    with serving_hub(hub, commits) as address:
        refused = ask_hub(address, tmp_path / "cache", warm_python, "-c", UPLOAD, *arguments, HF_TOKEN="wrong")
        assert re.match(r"cannot upload to http://127.*/me/up: .*401.*; log in with `hf auth login`", refused.stdout)
        assert refused.stdout.count("\n") == 1 and not commits, refused.stderr
        out = ask_hub(address, tmp_path / "cache", warm_python, "-c", UPLOAD, *arguments, HF_TOKEN="secret")
    assert out.stdout, out.stderr
    uploaded, *loaded = out.stdout.splitlines()
    assert uploaded == f"hf:me/up@{commits['main']}"
    assert loaded == [f"{uploaded} {load_sae(made / 'sae').checksum} True"] * 2, out.stderr
    assert contents(hub / "me/up" / commits["main"]) == contents(made / "out")
