"""Effects against every prediction of the hooked model, base by base."""

import logging
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import run
from hooked import LAYERS, D, HeadLM, drawn_sae, predictions, small_hyenadna
from toy import identity_sae, random_dna, unit_stats, write_fasta

from sae_tracks import bootstrap
from sae_tracks.annotations import read_annotation
from sae_tracks.cli.effects import show
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.insight import ablation
from sae_tracks.insight.effects import effects, features_with_verdict
from sae_tracks.json_file import read_json
from sae_tracks.lm import HyenaDNAReader, describe, load_lm
from sae_tracks.pretrain.pretrain import save_model
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE, save_sae
from sae_tracks.source import Source

LAYER, FEATURES = 2, [9, 2, 17]
SITES = "c\t10\t30\tgene\t0\t+\nc\t25\t45\tgene\t0\t+\nc\t60\t61\tgene\t0\t-\nodd\t3\t33\tspot\t0\t.\n"


@pytest.fixture(scope="module")
def model():
    return small_hyenadna()


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """A long run of N, which ends a stretch, a short one, another letter, and the last base of each contig."""
    odd = random_dna(40, 3) + "NNR" + random_dna(30, 4) + "N" * 120 + random_dna(50, 5)
    return Genome(write_fasta(tmp_path_factory.mktemp("genome") / "g.fa", c=random_dna(200, 2), odd=odd))


@pytest.fixture(scope="module")
def annotation(tmp_path_factory, genome):
    path = tmp_path_factory.mktemp("sites") / "sites.bed"
    path.write_text(SITES)
    return read_annotation(path, genome)


def sae_with_maxima(**how):
    sae = drawn_sae(3, **how)
    sae.stats = unit_stats(24)
    sae.stats["max"] = np.linspace(0.5, 3, 24, dtype=np.float32)
    return sae


def source_of(model, sae, genome, regions=None, strands=("+",), **how):
    return Source(HyenaDNAReader(model, LAYER), sae, genome, regions, strands, window=40, context=8, **how)


def by_base(model, sae, source, strand):
    """Of each base whose prediction counts: place, loss, feature values, and changes per feature, from the hook."""
    rows = []
    for window in source.windows(strand):
        letters = source.genome.sequence(window.fed)
        whole = source.genome.sequence(GenomicRegion(window.fed.contig, 0, source.genome.lengths[window.fed.contig]))
        oriented = letters if strand == "+" else reverse_complement(letters)
        streams = []
        own = predictions(model, LAYER, oriented, lambda x, seen=streams: seen.append(x) or x)
        f = sae.encode(streams[0])
        parts = {i: f[:, [i]] * sae.W_dec[i] for i in FEATURES}
        without = {i: predictions(model, LAYER, oriented, lambda x, part=part: x - part) for i, part in parts.items()}
        for at in range(window.kept.start, window.kept.end):
            i = at - window.fed.start if strand == "+" else window.fed.end - 1 - at
            behind = at + 1 if strand == "+" else at - 1
            if not 0 <= behind < len(whole) or chr(whole[behind]) not in "ACGT" or chr(whole[at]) not in "ACGT":
                continue
            letter = whole[behind : behind + 1]
            target = b"ACGT".index(letter if strand == "+" else reverse_complement(letter))
            row = {"contig": window.fed.contig, "at": at, "nats": -own[i, target].item()}
            for one, other in without.items():
                row[f"f{one}"] = f[i, one].item()
                row[f"change{one}"] = (own[i, target] - other[i, target]).item()
                row[f"kl{one}"] = (own[i].exp() * (own[i] - other[i])).sum().item()
                row |= {f"p_{b}{one}": (other[i].exp() - own[i].exp())[n].item() for n, b in enumerate("ACGT")}
            rows.append(row)
    return pd.DataFrame(rows)


def inside(rows, name, strand):
    spans = [line.split("\t") for line in SITES.splitlines()]
    spans = [(c, int(a), int(b)) for c, a, b, label, _, sign in spans if (label, sign) == (name, strand)]
    return np.array([any(c == r.contig and a <= r.at < b for c, a, b in spans) for r in rows.itertuples()])


REGIONS = [GenomicRegion("c", 5, 120), GenomicRegion("c", 150, 200), GenomicRegion("odd", 0, 243)]


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("kind", [{}, {"k": 5}], ids=["relu", "topk"])
def test_the_table_is_that_of_every_prediction_with_and_without_the_feature(model, genome, annotation, strand, kind):
    sae = sae_with_maxima(**kind)
    source = source_of(model, sae, genome, REGIONS, (strand,))
    table = effects(source, FEATURES, annotation)
    rows = by_base(model, sae, source, strand)
    concepts = [("gene", "+"), ("gene", "-"), ("spot", ".")]
    wheres = [("", "", "all"), ("", "", "active"), *((*c, w) for c in concepts for w in ("inside", "outside"))]
    names = table[["feature", "concept", "site_strand", "where"]]
    assert names.agg(tuple, axis=1).tolist() == [(f"f{i}", *where) for i, where in product(FEATURES, wheres)]
    assert set(table["read_strand"]) == {strand}
    for line in table.to_dict("records"):
        i = line["feature"][1:]
        if line["where"] in ("all", "active"):
            cutoff = 0.15 * sae.stats["max"][int(i)] if line["where"] == "active" else -np.inf
            here = (rows[f"f{i}"] > cutoff).to_numpy()
        else:
            here = inside(rows, line["concept"], line["site_strand"]) == (line["where"] == "inside")
        assert line["bases"] == here.sum()
        for name in ("nats", "change", "kl", "p_A", "p_C", "p_G", "p_T"):
            column = rows["nats" if name == "nats" else f"{name}{i}"][here]
            expected = column.mean() if here.any() else np.nan
            assert line[name] == pytest.approx(expected, abs=2e-4, nan_ok=True), (line, name)
    more = table[table["where"] == "inside"].reset_index()
    less = table[table["where"] == "outside"].reset_index()
    assert more["difference"].to_numpy() == pytest.approx((more["change"] - less["change"]).to_numpy())
    assert table.loc[table["where"] == "all", "change"].abs().max() > 0.01, "something changes"


def test_the_last_base_of_a_contig_predicts_none_and_both_strands_stand_apart(model, genome):
    sae = sae_with_maxima()
    table = effects(source_of(model, sae, genome, [GenomicRegion("c", 0, 200)], ("+", "-")), [2])
    assert table[["read_strand", "where"]].agg(tuple, axis=1).tolist() == list(product("+-", ("all", "active")))
    assert table.loc[table["where"] == "all", "bases"].tolist() == [199, 199]
    end = effects(source_of(model, sae, genome, [GenomicRegion("c", 198, 200)]), [2])
    assert end["bases"][0] == 1
    for strand, region in (("+", GenomicRegion("c", 199, 200)), ("-", GenomicRegion("c", 0, 1))):
        with pytest.raises(SaeTracksError, match="the regions are too short"):
            effects(source_of(model, sae, genome, [region], (strand,)), [2])


def test_black_listed_bases_and_those_with_little_context_do_not_count(model, genome):
    sae = sae_with_maxima()
    masked = {"black_list": [GenomicRegion("c", 50, 70)], "min_context": 8}
    table = effects(source_of(model, sae, genome, [GenomicRegion("c", 0, 200)], **masked), [2])
    assert table["bases"][0] == 199 - 20 - 8


def test_nothing_changes_before_the_first_active_base(model, genome, tmp_path):
    sae = sae_with_maxima()
    text = genome.sequence(GenomicRegion("c", 0, 40))
    f = sae.encode(HyenaDNAReader(model, LAYER).activations(text))
    first = {i: int((f[:, i] > 0).nonzero()[0]) for i in range(24) if (f[:, i] > 0).any()}
    feature, at = max(first.items(), key=lambda one: one[1])
    assert at > 0
    path = tmp_path / "parts.bed"
    path.write_text(f"c\t0\t{at}\tbefore\nc\t{at}\t40\tfrom\n")
    table = effects(
        source_of(model, sae, genome, [GenomicRegion("c", 0, 40)]), [feature], read_annotation(path, genome)
    )
    found = table[table["where"] == "inside"].set_index("concept")
    assert found.loc["before", ["change", "kl", "p_A"]].tolist() == [0, 0, 0]
    assert found.loc["from", "kl"] > 0


def test_a_feature_that_drives_the_output_has_its_effect_and_one_that_the_head_ignores_has_none(genome):
    """Channel 1 (C) adds 3 to the logit of "site": without it, p(site) falls from 1 / (1 + e^-3) to a half."""
    source = Source(HeadLM(), identity_sae(), genome, [GenomicRegion("c", 0, 200)])
    table = effects(source, [0, 1], threshold=0, scale="raw").set_index(["feature", "where"])
    p, cs = 1 / (1 + np.exp(-3)), genome.sequence(GenomicRegion("c", 0, 200)).count(b"C")
    kl = p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p))
    driving = table.loc[("f1", "active")]
    assert driving["bases"] == cs and table.loc[("f1", "all"), "bases"] == 200
    assert driving["kl"] == pytest.approx(kl, rel=1e-5)
    assert driving[["p_other", "p_site"]].tolist() == pytest.approx([p - 0.5, 0.5 - p], rel=1e-5)
    assert table.loc[("f1", "all"), "kl"] == pytest.approx(kl * cs / 200, rel=1e-5)
    assert (table.loc[("f0", ["all", "active"]), ["kl", "p_other", "p_site"]] == 0).all(axis=None)
    assert "nats" not in table and "change" not in table


def test_the_norm_ignores_a_feature_along_the_ones(model, genome):
    """Behind the last block there are norm and head alone, and the norm takes the mean of a row away."""
    sae = SAE(torch.randn(D, 2), torch.ones(2), torch.stack([torch.ones(D), torch.randn(D)]), torch.zeros(D))
    source = Source(HyenaDNAReader(model, LAYERS), sae, genome, [GenomicRegion("c", 0, 100)])
    table = effects(source, [0, 1], scale="raw", threshold=0).set_index(["feature", "where"])
    assert abs(table.loc[("f0", "active"), "change"]) < 1e-5 and table.loc[("f0", "active"), "bases"] > 10
    assert table.loc[("f1", "active"), "kl"] > 1e-3


def test_intervals_are_percentiles_of_ratios_of_drawn_blocks(model, genome, monkeypatch):
    monkeypatch.setattr(bootstrap, "BLOCK", 25)
    sae = sae_with_maxima()
    source = source_of(model, sae, genome, [GenomicRegion("c", 0, 200)])
    table = effects(source, FEATURES, seed=4)
    rows = by_base(model, sae, source, "+")
    sums = rows.groupby(rows["at"] // 25)["change2"].agg(["sum", "count"]).to_numpy()
    times = np.random.default_rng(4).multinomial(8, np.full(8, 1 / 8), 1000)
    low, high = np.percentile(times @ sums[:, 0] / (times @ sums[:, 1]), [2.5, 97.5])
    line = table[(table["feature"] == "f2") & (table["where"] == "all")].iloc[0]
    assert (line["change_low"], line["change_high"]) == pytest.approx((low, high), abs=2e-4)
    assert low < line["change"] < high
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    assert effects(source, [2])["change_low"].isna().all(), "two blocks tell nothing"


def test_that_no_interval_is_known_is_said(caplog):
    caplog.set_level(logging.INFO, "sae_tracks")
    row = {"feature": "f1", "read_strand": "+", "concept": "", "site_strand": "", "bases": 100}
    numbers = dict.fromkeys(("change", "difference", "difference_low", "difference_high", "change_high"), 0.5)
    rows = [row | numbers | {"where": "all", "change_low": low} for low in (0.25, np.nan)]
    show(pd.DataFrame(rows))
    assert not caplog.messages
    show(pd.DataFrame(rows[1:]))
    assert caplog.messages == ["no 95 % intervals: the regions lie in fewer than 5 blocks of 10,000 bases"]


def test_more_features_than_fit_into_one_call_give_the_same(model, genome, monkeypatch):
    source = source_of(model, sae_with_maxima(), genome, [GenomicRegion("c", 0, 200)])
    whole = effects(source, range(24))
    monkeypatch.setattr(ablation, "BATCH", 1)
    numbers = whole.select_dtypes("number").columns
    assert effects(source, range(24))[numbers].to_numpy() == pytest.approx(
        whole[numbers].to_numpy(), abs=1e-5, nan_ok=True
    )


def test_features_of_a_verdict(tmp_path):
    path = tmp_path / "metrics.tsv"
    path.write_text("concept\tfeature\tverdict\na\tf5\tsupported\nb\tf3\tchance\nc\tf5\tsupported\nd\tf2\tsupported\n")
    assert features_with_verdict(path, "supported") == [5, 2]
    with pytest.raises(SaeTracksError, match="has the verdict 'good'; it has chance, supported"):
        features_with_verdict(path, "good")
    path.write_text("concept\tf1\na\t0.5\n")
    with pytest.raises(SaeTracksError, match="has no column 'feature'"):
        features_with_verdict(path, "supported")


def test_the_command_writes_what_the_library_measures(model, genome, tmp_path):
    save_model(model, tmp_path / "lm")
    reader = load_lm(str(tmp_path / "lm"), LAYER, device="cpu")
    sae = sae_with_maxima(metadata={"lm": describe(reader)})
    save_sae(sae, tmp_path / "sae")
    bed, scores, out = tmp_path / "sites.bed", tmp_path / "metrics.tsv", tmp_path / "made" / "effects.tsv"
    bed.write_text(SITES)
    scores.write_text("concept\tfeature\tverdict\na\tf9\tsupported\nb\tf3\tchance\nc\tf2\tsupported\n")
    words = ("effects", tmp_path / "sae", genome.path, "-r", "c", "--window-size", 40, "--context", 8, "-p", 1)
    done = run(*words, "--from", scores, "--annotation", bed, "--concept", "gene", "-o", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    source = Source(reader, sae, genome, [GenomicRegion("c", 0, 200)], window=40, context=8)
    sites = read_annotation(bed, genome)
    wanted = effects(source, [9, 2], sites)
    wanted = wanted[wanted["concept"] != "spot"].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(out.with_suffix(".parquet")), wanted, rtol=1e-4, atol=1e-7)
    assert len(pd.read_csv(out, sep="\t")) == len(wanted)
    facts = read_json(out.with_name("effects.tsv.provenance.json"))
    assert facts["features"] == [9, 2] and facts["sae_sha256"] == sae.checksum and facts["concepts"] == ["gene"]
    assert "Change of the loss of the next base" in done.stdout and "inside gene +" in done.stdout
    for extra, said in (
        (("-o", out), "name features with one of -f"),
        (("-f", "1", "-o", tmp_path / "e.txt"), "name a file that ends in .tsv"),
        (("-f", "1", "-o", out, "--concept", "gene"), "only an --annotation has concepts"),
        (("-f", "1", "-o", out, "--annotation", bed, "--concept", "x"), "no concept 'x' in the regions"),
        (("-f", "99", "-o", out), "no feature 99"),
    ):
        refused = run(*words, *extra)
        assert refused.returncode and said in refused.stderr and refused.stderr.splitlines()[-1].startswith("error: ")


def test_the_large_effects_of_a_plug_in_fit_into_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    large = {"kl": 2.75692, "kl_low": 0.0214511, "kl_high": 13.21878, "difference": -0.40164}
    row = {"feature": "f1234", "read_strand": "-", "concept": "acceptor", "site_strand": "+", "where": "outside"}
    show(pd.DataFrame([row | {"bases": 199_954, "difference_low": -2.95, "difference_high": 9.1e-6} | large]))
    words = capsys.readouterr().out.split("f1234-")[1].split()
    assert words == ["outside", "acceptor", "+", "199,954", "2757", "21.5", "13219", "-402", "-2950", "0.01"]
