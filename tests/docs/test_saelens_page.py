"""docs/saelens.md, block by block, with SAELens and a drawn SAE of the bundled yeast model; results against SAELens."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from toy import random_dna, random_sae, unit_stats, write_fasta

from sae_tracks.activations.shards import open_shards, write_shards
from sae_tracks.lm import describe, load_lm
from sae_tracks.sae import save_sae

sae_lens = pytest.importorskip("sae_lens", reason="needs SAELens: pip install -e '.[saelens]'")
PAGE = Path(__file__).parents[2] / "docs" / "saelens.md"
FEATURE, OTHER = 47, 654


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names that the page's blocks define, run in order where `make demo` has left its files."""
    folder = tmp_path_factory.mktemp("saelens")
    demo = folder / "demo"
    demo.mkdir()
    lm = load_lm("yeast", 3)
    sae = random_sae(lm.d_model, 1024, "topk")
    sae.k, sae.stats, sae.b_dec = 16, unit_stats(1024), lm.activations(random_dna(500).encode()).mean(0)
    sae.W_enc[:, [FEATURE, OTHER]] *= 2  # often among the k
    sae.metadata = {"model_name": lm.model_id, "hook_name": lm.hook_name, "lm": describe(lm)}
    save_sae(sae, demo / "sae")
    write_fasta(demo / "yeast.bgz", chrXVI=random_dna(320_500)).rename(demo / "yeast.fa.gz")
    rows = np.random.default_rng(0).standard_normal((3000, lm.d_model))
    write_shards(demo / "shuffled", rows, lm=lm, shuffled=True)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL):
            {"python": run_python, "sh": run_shell}[language](code, names)
    return names | {"folder": folder}


def run_python(code, names):
    exec(compile(code, str(PAGE), "exec"), names)


def run_shell(code, _):
    for line in code.splitlines():
        program, *words = shlex.split(line)
        done = run(*words)
        assert program == "sae-tracks" and done.returncode == 0, done.stderr


def test_what_the_sae_reads_is_known_to_saelens(page):
    metadata = page["theirs"].cfg.metadata
    assert (metadata.lm["model"], metadata.lm["layer"]) == ("yeast", 3)
    assert metadata.hook_name == page["lm"].hook_name == page["sae"].metadata["lm"]["hook_name"]


def test_the_imported_sae_reads_the_model_that_was_named(page):
    known = page["imported"].metadata["lm"]
    assert (known["model"], known["layer"], page["imported"].stats) == ("yeast", 3, None)
    page["Source"](page["lm"], page["imported"], page["genome"], page["source"].regions)  # is accepted


def test_the_table_has_the_features_of_saelens(page):
    """The highest place is that of the table, and SAELens finds the same value in the window in which it is read."""
    active, top = page["active"], page["top"]
    mine = active[active["feature"] == FEATURE]
    assert set(active["feature"]) == {FEATURE, OTHER} and mine["position"].between(300_000, 319_999).all()
    assert top["value"].is_monotonic_decreasing and len(top) == 10
    peak, value = int(top["peak"].iloc[0]), top["value"].iloc[0]
    assert value == mine["value"].max() and mine[mine["value"] == value]["position"].iloc[0] == peak
    fed = next(one.fed for one in page["source"].windows("+") if one.kept.start <= peak < one.kept.end)
    with torch.no_grad():
        f = page["theirs"].encode(page["lm"].activations(page["genome"].sequence(fed)))
    assert f[peak - fed.start, FEATURE].item() == pytest.approx(value, rel=1e-4)


def test_edits_are_those_of_saelens_features(page):
    """The model goes on from x less the feature along its decoder row, and from x with the feature at its value."""
    lm, theirs, sequence = page["lm"], page["theirs"], page["sequence"]
    assert len(sequence) == 400
    x = lm.activations(sequence)
    with torch.no_grad():
        own = theirs.encode(x)[:, FEATURE, None]
        rows = {"without": x - own * theirs.W_dec[FEATURE], "more": x + (2 - own) * theirs.W_dec[FEATURE]}
    with page["spliced"](lm, page["sae"]) as model:
        torch.testing.assert_close(model.ablate([FEATURE]).activations(sequence), rows["without"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.steer({FEATURE: 2}).activations(sequence), rows["more"], rtol=1e-4, atol=1e-4)
    for name in ("before", "without", "more"):
        torch.testing.assert_close(page[name].exp().sum(1), torch.ones(400), rtol=1e-4, atol=1e-4)
    assert own[-1] > 0 and (page["without"] - page["before"])[-1].abs().max() > 0
    assert (page["more"] - page["before"]).abs().max() > 0


def test_rows_of_shards_are_written_and_read(page):
    assert page["batch"].shape == (2048, page["lm"].d_model)
    assert np.array_equal(open_shards(page["folder"] / "own").read_rows(0, 2048), page["batch"].numpy())


def test_explained_variance_is_what_fvu_leaves(page):
    from sae_lens.evals import ExplainedVarianceCalculator

    x = page["lm"].activations(page["sequence"])
    decoded = page["sae"].decode(page["sae"].encode(x))
    calculator = ExplainedVarianceCalculator()
    calculator.add_batch(decoded, x)
    fvu = ((decoded - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert float(calculator.compute()) == pytest.approx(1 - fvu.item(), rel=1e-4)


def test_the_page_names_classes_and_functions_that_exist():
    import sae_tracks
    from sae_tracks import interp

    text = PAGE.read_text()
    ours = {"Source", "GeneLM"}
    for name in set(re.findall(r"`([A-Z][a-z]\w+)`", text)) - ours - {"HookedTransformer"}:
        assert hasattr(sae_lens, name), name
    for name in ("spliced", "effects", "logit_attribution", "top_examples"):
        assert f"`{name}" in text or f"{name}(" in text
        assert name in interp.__all__
    assert {"read", "Source", "load_sae", "open_shards", "write_shards"} <= set(sae_tracks.__all__)
