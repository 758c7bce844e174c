"""Planted truth: what is true is supported, and what is not is called by its name."""

from dataclasses import replace

import numpy as np
import pandas as pd
import planted
import pytest
import torch
from control_samples import columns
from toy import unit_stats

from sae_tracks.annotations import read_annotation
from sae_tracks.controls.best import best, cells_of
from sae_tracks.controls.chance import decoy_scores, q_values
from sae_tracks.controls.control import ControlData, ControlInputs, oriented_motifs, run_controls
from sae_tracks.controls.pairs import Pairs
from sae_tracks.controls.sample import cover, label_sites, numbers_of, samplers_of, sites_in
from sae_tracks.controls.score import ControlSettings
from sae_tracks.controls.verdict import TEXTS
from sae_tracks.errors import UsageError
from sae_tracks.features import run
from sae_tracks.metrics import THRESHOLDS, Counter, best_features, evaluate_on, read_table, scores
from sae_tracks.sae import SAE
from sae_tracks.source import Source


def scored(lm, sae, genome, truth):
    """Best features, evaluation, samples and cutoffs of a model."""
    source = Source(lm, sae, genome, window=4096, context=512, allow_mismatch=True)
    evaluation = evaluate_on(genome, [truth])
    cutoffs = np.array([sae.cutoffs(t, "max") for t in THRESHOLDS])
    counter, samplers = Counter(evaluation, THRESHOLDS, cutoffs), samplers_of(source, evaluation)
    run(source.blocks(on_reading=lambda reading: [s.add_activations(reading) for s in samplers]), counter, *samplers)
    return best_features(scores(counter.counts())), evaluation, [s.sample() for s in samplers], cutoffs


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    genome, truth, repeats = planted.planted_genome(tmp_path_factory.mktemp("planted"))
    lm = planted.PlantedLM()
    return genome, truth, repeats, *scored(lm, planted.planted_sae(lm), genome, truth)


@pytest.fixture(scope="module")
def blank(known):
    """The same bases through a model that knows letters alone, and an SAE that knows all of it."""
    genome, truth, *_ = known
    lm = planted.PlantedLM(seed=1, blank=True)
    _, _, (sample,), cutoffs = scored(lm, planted.planted_sae(lm), genome, truth)
    return cells_of(sample.features, cutoffs, len(sample))


def motif_rows(table):
    return table[table["concept"].isin([*planted.WORDS])]


def test_the_known_answer_is_found_base_by_base(known):
    table = motif_rows(known[3])
    assert len(table) == 2 * len(planted.WORDS)
    assert table["f1"].min() >= 0.99
    expected = [f"f{planted.NAMES.index((row.concept, row.site_strand))}" for row in table.itertuples()]
    assert table["feature"].tolist() == expected


def test_a_random_sae_finds_nothing(known):
    genome, truth, _, table, *_ = known
    lm = planted.PlantedLM()
    draw = torch.Generator().manual_seed(3)
    encoder = torch.randn(lm.d_model, lm.d_model, generator=draw)
    encoder /= encoder.norm(dim=0)
    d = lm.d_model
    random = SAE(encoder, torch.full((d,), -1.0), encoder.T.clone(), torch.zeros(d), metadata={}, stats=unit_stats(d))
    found = motif_rows(scored(lm, random, genome, truth)[0]).set_index(["concept", "site_strand"])["f1"]
    true = motif_rows(table).set_index(["concept", "site_strand"])["f1"]
    assert found.max() <= 0.3
    assert (true - found).min() >= 0.5


def test_whole_sites_shifted_by_one_base_are_noticed(known, tmp_path):
    """A shift costs every site one base at either end: of w bases w - 1 are still right."""
    genome, truth, _, table, *_ = known
    rows = [line.split("\t") for line in truth.read_text().splitlines()]
    moved = [[c, int(start) + 1, int(end) + 1, *rest] for c, start, end, *rest in rows]
    lm = planted.PlantedLM()
    shifted = motif_rows(scored(lm, planted.planted_sae(lm), genome, planted.write_bed(tmp_path / "m.bed", moved))[0])
    for row in shifted.itertuples():
        width = len(planted.WORDS[row.concept])
        assert row.f1 == pytest.approx((width - 1) / width, abs=0.01)
        assert row.f1 < motif_rows(table)["f1"].min() - 0.05


@pytest.fixture(scope="module")
def controlled(known, blank):
    genome, _, repeats, table, evaluation, samples, cutoffs = known
    kinds = [("random", blank), ("permuted", blank)]
    inputs = ControlInputs(planted.motifs(), repeats=read_annotation(repeats, genome), untrained=lambda sample: kinds)
    return run_controls(table, evaluation, samples, THRESHOLDS, cutoffs, inputs)


def test_planted_motifs_are_supported(controlled):
    table, _ = controlled
    rows = motif_rows(table)
    assert rows["verdict"].tolist() == ["supported"] * len(rows), rows.T.to_string()
    assert (rows["untested"] == "").all()
    assert (rows["decoy_q"] <= 0.05).all()


def test_a_motif_in_a_repeat_is_called_repeat(controlled):
    table, _ = controlled
    rows = table[table["concept"] == planted.IN_REPEAT]
    assert rows["f1"].min() > 0.9
    assert rows["verdict"].tolist() == ["repeat", "repeat"]
    assert (rows["repeat_class"] == "SINE/Alu").all()


def test_letters_are_called_sequence(controlled):
    table, _ = controlled
    rows = table[table["concept"].isin(list("ACGT"))]
    assert rows["f1"].min() > 0.99
    assert rows["verdict"].tolist() == ["sequence"] * 4
    assert rows["kmer"].tolist() == rows["concept"].tolist()
    assert rows["kmer_f1"].tolist() == [1] * 4


def test_what_an_untrained_model_has_too_is_called_untrained(known):
    genome, _, repeats, table, evaluation, (sample,), cutoffs = known
    trained = cells_of(sample.features, cutoffs, len(sample))
    inputs = ControlInputs(
        planted.motifs(), repeats=read_annotation(repeats, genome), untrained=lambda sample: [("random", trained)]
    )
    rows = motif_rows(run_controls(table, evaluation, [sample], THRESHOLDS, cutoffs, inputs)[0])
    assert rows["verdict"].tolist() == ["untrained"] * len(rows)


def test_nothing_is_supported_without_every_control(known):
    _, _, _, table, evaluation, samples, cutoffs = known
    rows = motif_rows(run_controls(table, evaluation, samples, THRESHOLDS, cutoffs, ControlInputs())[0])
    assert rows["verdict"].tolist() == ["not-tested"] * len(rows)
    assert (rows["untested"] == "chance,repeat,untrained").all()
    assert (rows["shift_p"] <= 0.05).all()  # which all motifs are, and so it is no test of chance


def test_the_sample_of_a_small_genome_holds_every_instance(controlled):
    table, _ = controlled
    assert table["sample_instances"].tolist() == table["instances"].tolist()


def decoy_data(sample, sites, concepts, genome, cutoffs):
    """What decoys look at: no pairs, the planted motifs, two decoys each."""
    none = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    inputs = ControlInputs(planted.motifs(), decoys=2)
    return ControlData(sample, sites, none, concepts, np.zeros(len(concepts), np.int64), cutoffs, inputs, genome)


def test_where_no_feature_is_active_neither_motif_nor_decoy_wins(known):
    genome, _, _, _, evaluation, (sample,), cutoffs = known
    silent = replace(sample, features=columns(np.zeros((len(sample), 1))))
    concepts = evaluation.labels.concepts
    sites = label_sites(silent, evaluation.labels.annotation.sites, concepts)
    found = decoy_scores(decoy_data(silent, sites, concepts, genome, cutoffs[:, :1]))
    assert found["decoy_q"].dropna().tolist() == [1] * 18
    assert found["decoy_f1"].dropna().tolist() == [0] * 18


@pytest.mark.parametrize("names", [["MA9001.1", "MA9002.1"], ["MA9001.1"]])
def test_motif_sites_without_a_strand_have_no_decoys_and_no_ideal_reader(known, names):
    """The first of the motifs has lost its strand."""
    genome, _, _, _, evaluation, (sample,), cutoffs = known
    rows = evaluation.labels.annotation.sites.astype({"Name": str, "Strand": str})
    rows.loc[rows["Name"] == "MA9001.1", "Strand"] = "."
    rows = rows[rows["Name"].isin(names)]
    concepts = rows[["Name", "Strand"]].drop_duplicates().set_axis(["concept", "site_strand"], axis=1)
    concepts = concepts.reset_index(drop=True)
    sites = sites_in(sample, rows, numbers_of(concepts, rows["Name"], rows["Strand"]), len(concepts))
    found = decoy_scores(decoy_data(sample, sites, concepts, genome, cutoffs))
    stranded = (concepts["site_strand"] != ".").tolist()
    assert found["decoy_q"].notna().tolist() == found["decoy_f1"].notna().tolist() == stranded
    every = Pairs(np.arange(len(concepts)), np.zeros(len(concepts), int), np.zeros(len(concepts), np.float32))
    assert [*oriented_motifs(planted.motifs(), concepts, every)] == np.flatnonzero(stranded).tolist()


class EdgeLM(planted.PlantedLM):
    """Knows the last base of every site alone."""

    def known(self, sequence):
        out = super().known(sequence)
        sites = out[:, : len(planted.NAMES)]
        sites[:-1] *= sites[1:] == 0
        return out


def test_labels_shifted_by_one_base_collapse_it(known, tmp_path):
    """A feature of one base of every site: right where the label is, and worth nothing one base before or behind."""
    genome, truth, *_ = known
    rows = [line.split("\t") for line in truth.read_text().splitlines()]
    moved = [
        (contig, int(end) - 1 + shift, int(end) + shift, f"{name}{sign}", 0, strand)
        for contig, _, end, name, _, strand in rows
        for sign, shift in (("", 0), ("<", -1), (">", 1))
    ]
    lm = EdgeLM()
    found = scored(lm, planted.planted_sae(lm), genome, planted.write_bed(tmp_path / "edges.bed", moved))[0]
    exact, shifted = motif_rows(found), found[found["concept"].str[-1].isin(["<", ">"])]
    assert exact["f1"].min() >= 0.99
    assert len(shifted) >= 2 * len(exact)
    assert shifted["f1"].max() <= 0.1


def test_the_offset_profile_is_one_inside_the_site_and_the_background_outside(controlled):
    _, offsets = controlled
    word = planted.WORDS["MA9002.1"]
    mine = offsets[(offsets["concept"] == "MA9002.1") & (offsets["anchor"] == "start")]
    inside = mine[(mine["offset"] >= 0) & (mine["offset"] < len(word))]
    assert (inside["active_share"] == 1).all()
    assert mine[mine["offset"] < 0]["active_share"].max() < 0.05


def test_decoys_are_seldom_called_supported(known):
    """Every decoy stands for a motif that is not there: over 20 seeds their q is seldom at most .05.

    Labels are sites of random words, as many as the motifs have, so that no feature can know them.
    """
    genome, *_, (sample,), cutoffs = known
    cells, half = cells_of(sample.features, cutoffs, len(sample)), sample.half_of_base()
    called = tested = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        groups = []
        for number in range(12 * 6):  # twelve false motifs, each with five decoys
            start = rng.integers(0, genome.lengths["p1"] - 12, 150)
            frame = pd.DataFrame({"Chromosome": "p1", "Start": start, "End": start + 12})
            groups.append(frame.assign(concept=number))
        sites = pd.concat(groups, ignore_index=True)
        labels = cover(sample, sites, sites["concept"].to_numpy(), 72)
        f1 = best(cells, labels, half).f1.reshape(12, 6)
        called += int((q_values(f1[:, 0], f1[:, 1:]) <= 0.05).sum())
        tested += 12
    assert called <= np.quantile(np.random.default_rng(0).binomial(tested, 0.05, 10_000), 0.99)


def test_a_number_of_decoys_without_motifs_is_an_error_of_usage():
    with pytest.raises(UsageError, match="--decoys shuffles the matrices of motifs: name these by --motifs"):
        ControlSettings(decoys=7)
    assert ControlSettings(decoys=7, motifs="m.pfm").decoys == 7


def test_columns_of_text_are_those_of_the_registry(controlled, tmp_path):
    """Names that look like numbers, or like a missing value, come back from the file as they are."""
    table, _ = controlled
    texts = {name for name in table if not pd.api.types.is_numeric_dtype(table[name])}
    assert texts == {"concept", "tf", "site_strand", "feature", "read_strand", "verdict", *TEXTS} - {"memorised"}
    table.head(2).assign(**{name: ["07", "NA"] for name in TEXTS}).to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    read = read_table(tmp_path / "t.tsv", TEXTS)
    assert all(read[name].tolist() == ["07", "NA"] for name in TEXTS)
    assert read["lag"].dtype == float


def test_a_read_strand_without_rows_is_left_out(known):
    _, _, _, table, evaluation, (sample,), cutoffs = known
    reverse = replace(sample, read_strand="-")
    both, _ = run_controls(table, evaluation, [sample, reverse], THRESHOLDS, cutoffs, ControlInputs())
    assert len(both) == len(table)
