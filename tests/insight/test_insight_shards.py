"""Runs that are read in shards: merged they are one run, and shards that do not belong together are refused."""

import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import planted
import pytest
import torch
from command_line import run
from hooked import drawn_sae, small_hyenadna
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from toy import OneHotLM, identity_sae, random_dna, random_sae, unit_stats, write_fasta

from sae_tracks import Genome, GenomicRegion, SaeTracksError, Source, merge_shards, save_sae
from sae_tracks.annotations import read_annotation
from sae_tracks.features import FeatureBlock
from sae_tracks.insight.compare import CompareRun
from sae_tracks.insight.effects import EffectRun
from sae_tracks.insight.insert import InsertRun
from sae_tracks.insight.joint import JointSums
from sae_tracks.insight.motifs import MotifQuestion, MotifRun
from sae_tracks.insight.places import Places
from sae_tracks.insight.shards import STORED, run_shard
from sae_tracks.json_file import read_json
from sae_tracks.lm import HyenaDNAReader
from sae_tracks.metrics import Halves
from sae_tracks.motifs import Motif
from sae_tracks.regions import Shard
from sae_tracks.source import ReadBases


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """A long run of N, a single N, and a contig that is shorter than a window."""
    left, right = random_dna(7_000, 1), random_dna(6_000, 2)
    dna = left[:2_500] + "N" * 150 + left[2_650:] + "N" + right
    return Genome(write_fasta(tmp_path_factory.mktemp("g") / "g.fa", c1=dna, c2=random_dna(90, 3)))


def shards_of(run, folder, n):
    """The folders of all shards, the last one first."""
    parts = [folder / f"{run.verb}-{i}-{n}" for i in range(1, n + 1)]
    assert all(run_shard(run, part, Shard(i, n)) for i, part in enumerate(parts, 1))
    return parts[::-1]


class Ramp(OneHotLM):
    """Channels whose values differ between bases, and tie often."""

    def activations(self, sequence):
        out = super().activations(sequence)
        ramp = np.frombuffer(sequence, np.uint8).astype(np.float32).cumsum() % 7 + 1
        out[:, :4] *= torch.from_numpy(ramp)[:, None]
        return out


def motif_run(genome, **how):
    """Windows of 61 kept bases, in tiles of 100; most of c1."""
    regions, how_read = [GenomicRegion("c1", 0, 5_500), *genome.whole[1:]], {"window": 71, "context": 10}
    source = Source(Ramp(71), identity_sae(), genome, regions, ("+", "-"), **how_read, allow_mismatch=True)
    question = MotifQuestion(ReadBases.of(source), Halves(1_000), [0, 1, 2, 5], **{"places": 30} | how)
    return MotifRun(source, question)


@pytest.mark.parametrize("n", [3, 95])
def test_motifs_of_shards_are_the_bytes_of_one_run(genome, tmp_path, n):
    """Tiles are cut by the borders of windows, so also by those of shards; of 95 shards some are empty."""
    bed = tmp_path / "genes.bed"
    bed.write_text("c1\t600\t900\tgene\t0\t+\nc1\t2700\t9000\tgene\t0\t-\n")
    asked = motif_run(genome, annotation=[bed])
    whole = asked.whole()
    whole.write(tmp_path / "whole")
    merged = merge_shards(shards_of(asked, tmp_path, n), tmp_path / "merged")
    assert merged.verb == "motifs" and len(whole.motifs) > 1
    for name in ("motifs.tsv", "motifs.parquet", "motifs.meme", "places.bed"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    ours, theirs = (read_json(tmp_path / name / "provenance.json") for name in ("whole", "merged"))
    assert theirs == ours | {"shards": n}


@st.composite
def streams(draw):
    """Dense values of two features on two contigs and strands, with ties, and where the stream is cut."""
    lengths = {"a": draw(st.integers(70, 700)), "b": draw(st.integers(1, 300))}
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    dense = {(s, c): rng.integers(0, 4, (n, 2)).astype(np.float32) for s in "+-" for c, n in lengths.items()}
    owner = {key: np.sort(rng.integers(0, 3, len(values))) for key, values in dense.items()}
    return lengths, dense, owner, draw(st.sampled_from([Halves(250), Halves(named=NAMED)])), draw(st.integers(1, 3))


NAMED = [GenomicRegion("a", s, s + 20) for s in (0, 40)], [GenomicRegion("a", 20, 40), GenomicRegion("a", 60, 300)]


@settings(max_examples=40)
@given(streams())
def test_places_of_any_cut_are_those_of_one_stream(stream):
    """Also if two halves change several times within a tile."""
    lengths, dense, owner, halves, count = stream
    regions = [GenomicRegion(name, 0, n) for name, n in lengths.items()]
    bases = SimpleNamespace(genome=SimpleNamespace(lengths=lengths), read_strands=["+", "-"], regions=regions)
    whole, *parts = (Places(bases, halves, [0, 1], count, 61) for _ in range(4))
    for (strand, contig), values in dense.items():
        for number in range(3):
            (at,) = np.nonzero(owner[strand, contig] == number)
            if len(at):
                block = block_of(contig, strand, int(at[0]), values[at])
                whole.add(block)
                parts[number].add(block)
    stored = [part.arrays() for part in parts]
    merged = Places(bases, halves, [0, 1], count, 61)
    for arrays in (stored[2], stored[0], stored[1]):
        merged.merge(arrays)
    for half in range(2):
        assert merged.tiles(half).tolist() == whole.tiles(half).tolist()
        for feature in range(2):
            assert merged.best(feature, half).tolist() == whole.best(feature, half).tolist()
            for one, two in zip(merged.silent(feature, merged.tiles(half)), whole.silent(feature, whole.tiles(half))):
                assert one.tolist() == two.tolist()


def block_of(contig, strand, start, values):
    base, feature = np.nonzero(values)
    indptr = np.searchsorted(base, np.arange(len(values) + 1))
    region, readable = GenomicRegion(contig, start, start + len(values)), np.ones(len(values), bool)
    return FeatureBlock(region, strand, readable, indptr, feature.astype(np.int32), values[base, feature], 2)


@pytest.mark.parametrize("n", [2, 3, 40])
def test_effects_of_shards_are_those_of_one_run(tmp_path, n):
    """Two regions share a window: it is read once, and its bases count once."""
    dna = random_dna(90, 5) + "N" * 120 + random_dna(150, 6)
    genome = Genome(write_fasta(tmp_path / "g.fa", c=dna))
    bed = tmp_path / "sites.bed"
    bed.write_text("c\t10\t40\tgene\t0\t+\nc\t230\t260\tgene\t0\t-\n")
    regions = [GenomicRegion("c", a, b) for a, b in ((0, 12), (14, 20), (22, 100), (200, 360))]
    sae = drawn_sae(3)
    sae.stats = unit_stats(24)
    source = Source(HyenaDNAReader(small_hyenadna(), 2), sae, genome, regions, ("+", "-"), window=40, context=8)
    asked = EffectRun(source, [9, 2, 17], read_annotation(bed, genome), threshold=0.1, seed=3)
    whole = asked.whole()
    merged = merge_shards(shards_of(asked, tmp_path, n), tmp_path / "out.tsv").result
    pd.testing.assert_frame_equal(merged, whole, rtol=1e-6, atol=1e-9)
    assert merged["bases"].tolist() == whole["bases"].tolist() and whole["bases"].max() > 200
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), merged)
    facts = read_json(tmp_path / "out.tsv.provenance.json")
    assert facts["features"] == [9, 2, 17] and facts["shards"] == n and facts["sae_sha256"] == sae.checksum


def test_effects_of_regions_without_a_scored_base_are_refused_at_the_merge(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", c=random_dna(50, 5)))
    sae = drawn_sae(3)
    source = Source(
        HyenaDNAReader(small_hyenadna(), 2), sae, genome, [GenomicRegion("c", 49, 50)], window=40, context=8
    )
    asked = EffectRun(source, [2], scale="raw")
    with pytest.raises(SaeTracksError, match="the regions are too short"):
        merge_shards(shards_of(asked, tmp_path, 2), tmp_path / "out.tsv")


@pytest.mark.parametrize("n", [2, 20])
@pytest.mark.parametrize("models", ["one model", "two models"])
def test_a_comparison_of_shards_is_that_of_one_run(genome, tmp_path, n, models):
    """Windows of the second model have other borders; with 20 shards most are shorter than the shift."""
    regions, how = [GenomicRegion("c1", 2_000, 3_300), GenomicRegion("c2", 3, 80)], {"allow_mismatch": True}
    a = Source(OneHotLM(64), random_sae(6, 24, bias=-1), genome, regions, ("+", "-"), window=64, context=20, **how)
    b = replace(a, sae=random_sae(6, 31, bias=-0.5))
    if models == "two models":
        b = replace(b, lm=Ramp(101), window=101, context=30)
        b.lm.checksum = "ramp"
    asked = CompareRun(a, b)
    whole = asked.whole()
    merged = merge_shards(shards_of(asked, tmp_path, n), tmp_path / "out").result
    pd.testing.assert_frame_equal(merged.table, whole.table, rtol=1e-9, atol=1e-9)
    assert merged.table["density"].tolist() == whole.table["density"].tolist()
    assert (merged.bases, merged.shift) == (whole.bases, whole.shift)
    assert merged.chance == pytest.approx(whole.chance, rel=1e-9) and 0 < whole.chance < 1
    assert whole.table["cosine"].notna().any()
    ours, theirs = whole.facts, read_json(tmp_path / "out" / "provenance.json")
    assert theirs["shards"] == n and theirs["a"] == ours["a"] and theirs["bases"] == ours["bases"]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 199), max_size=5), st.integers(1, 100), st.integers(0, 99))
def test_the_shifted_null_does_not_depend_on_the_cuts(cuts, shift, seed):
    """Against a roll of the dense stream of both read strands, also for parts that are shorter than the shift."""
    draw = np.random.default_rng(seed)
    x, y = (np.where(draw.random((2, 200, 5)) < 0.3, draw.random((2, 200, 5)), 0).astype(np.float32) for _ in "xy")
    merged, edges = JointSums((5, 5), shift), [0, *sorted(cuts), 200]
    for start, end in zip(edges, edges[1:]):
        part = JointSums((5, 5), shift)
        for strand in range(2):
            for first in range(start, end, 30):
                some = slice(first, min(first + 30, end))
                part.add(csr_array(x[strand, some]), csr_array(y[strand, some]), strand)
        merged.merge(part.arrays())
    assert merged.bases == 400 and merged.close_circle()
    ours, theirs = x.reshape(400, 5).astype(float), np.roll(y.reshape(400, 5), shift, axis=0)
    np.testing.assert_allclose(merged.shifted, ours.T @ theirs, atol=1e-9)
    np.testing.assert_array_equal(merged.joint, (x.reshape(400, 5) > 0).T.astype(int) @ (y.reshape(400, 5) > 0))


MOTIFS = [
    Motif(f"M{i}", "", planted.counts(word)) for i, word in enumerate((b"GATTACAGAT", b"CCGTACGGTTAACC", b"TTGACCTA"))
]


def test_insertions_of_shards_are_those_of_one_run(genome, tmp_path, monkeypatch):
    """The widest motif decides which contexts all get. Of four shards one is empty; groups of motifs change no row."""
    how = {"window": 200, "context": 50, "allow_mismatch": True}
    source = Source(OneHotLM(200), identity_sae(), genome, None, ("+", "-"), **how)
    asked = InsertRun(source, MOTIFS, [5], contexts=25, seed=2)
    whole = asked.whole()
    merged = merge_shards(shards_of(asked, tmp_path, 4), tmp_path / "out").result
    pd.testing.assert_frame_equal(merged.table, whole.table, rtol=0, atol=0)
    pd.testing.assert_frame_equal(merged.profile, whole.profile, rtol=0, atol=0)
    assert len(whole.table) == 2 * 3 * 2 and whole.table["insertion_auroc"].notna().any() and len(whole.profile)
    assert (tmp_path / "out" / "insertion.tsv").is_file() and (tmp_path / "out" / "insertion_profile.parquet").is_file()
    monkeypatch.setattr("sae_tracks.insight.responses.MOST_BYTES", 2 * 4 * 50 * 64)  # of one motif
    assert "each read 3 times" in asked.size()
    pd.testing.assert_frame_equal(asked.whole().table, whole.table, rtol=0, atol=0)
    with pytest.raises(SaeTracksError, match="name fewer features or contexts"):
        InsertRun(source, MOTIFS, [0, 5], contexts=25, seed=2)


def test_a_complete_shard_is_not_read_again_and_another_one_is_refused(genome, tmp_path, monkeypatch):
    asked, folder = motif_run(genome), tmp_path / "one"
    assert run_shard(asked, folder, Shard(1, 2))
    before = (folder / STORED).read_bytes()
    with monkeypatch.context() as broken:
        broken.setattr(MotifRun, "read", lambda *_: pytest.fail("it was read again"))
        assert not run_shard(asked, folder, Shard(1, 2))
        for other, shard, message in (
            (asked, Shard(2, 2), "holds shard 1/2: name a folder for shard 2/2"),
            (asked, Shard(1, 3), "holds shard 1/2: name a folder for shard 1/3"),
            (motif_run(genome, places=31), Shard(1, 2), "of another run, whose places differs"),
        ):
            with pytest.raises(SaeTracksError, match=message):
                run_shard(other, folder, shard)
        (tmp_path / "scores").mkdir()
        (tmp_path / "scores" / "provenance.json").write_text("{}")
        with pytest.raises(SaeTracksError, match="scores holds other results: name a folder for shard 1/2"):
            run_shard(asked, tmp_path / "scores", Shard(1, 2))
        os.mkfifo(tmp_path / "pipe")
        piped = SimpleNamespace(verb="motifs", sources=list, facts=dict, inputs=lambda: {"x": [str(tmp_path / "pipe")]})
        with pytest.raises(SaeTracksError, match="pipe is a pipe, which merge-shards could not read again"):
            run_shard(piped, tmp_path / "new", Shard(1, 2))
    assert (folder / STORED).read_bytes() == before
    (folder / STORED).write_bytes(before[: len(before) // 2])
    with pytest.raises(SaeTracksError, match=r"cannot read .*shard\.npz.*run that shard again"):
        run_shard(asked, folder, Shard(1, 2))


def test_shards_that_do_not_belong_together_are_refused(genome, tmp_path):
    asked, out = motif_run(genome), tmp_path / "out"
    one, two, three = shards_of(asked, tmp_path, 3)[::-1]
    foreign = shards_of(motif_run(genome, seed=1), tmp_path / "other", 3)[0]
    halved = shards_of(asked, tmp_path / "halved", 2)[0]
    a = Source(OneHotLM(64), identity_sae(), genome, [GenomicRegion("c2", 0, 90)], allow_mismatch=True)
    compared = shards_of(CompareRun(a, a), tmp_path, 1)[0]
    for folders, message in (
        ([], "there is no shard"),
        ([three, one], "shard 2/3 is missing: run motifs --shard 2/3"),
        ([one, two, two, three], "shard 2/3 is there twice"),
        ([one, two, foreign], "is of another run than .*: its seed differs"),
        ([one, compared], "is of another run than .*: its verb differs"),
        ([one, halved], "different divisions"),
        ([one, tmp_path], "holds no shard: name the folders of motifs, effects, compare or insert"),
    ):
        with pytest.raises(SaeTracksError, match=message):
            merge_shards(folders, out)
    assert not out.exists()


def test_files_that_changed_since_are_refused(tmp_path):
    genome = Genome(write_fasta(tmp_path / "g.fa", c1=random_dna(6_000, 1)))
    bed = tmp_path / "genes.bed"
    bed.write_text("c1\t600\t900\tgene\t0\t+\n")
    folders = shards_of(motif_run(genome, annotation=[bed]), tmp_path, 2)
    bed.write_text("c1\t600\t800\tgene\t0\t+\n")
    with pytest.raises(SaeTracksError, match="the files of annotation have changed since"):
        merge_shards(folders, tmp_path / "out")
    bed.write_text("c1\t600\t900\tgene\t0\t+\n")
    write_fasta(tmp_path / "g.fa", c1=random_dna(6_000, 2))
    with pytest.raises(SaeTracksError, match="has changed since it was read: run the shards again"):
        merge_shards(folders, tmp_path / "out")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with an SAE and a genome; the language model is a toy."""
    write_fasta(tmp_path / "g.fa", c1=random_dna(9_000, seed=2))
    save_sae(identity_sae(lm={"model": "one-hot", "layer": 3}), tmp_path / "sae")
    monkeypatch.setattr("sae_tracks.lm.load.load_lm", lambda *_, **__: OneHotLM(200))
    return tmp_path


CALLS = (
    ("motifs sae g.fa -f 0-2 --select-on c1:1-4000 --places 20", "motifs.tsv", "3 of 3 features"),
    ("compare sae sae g.fa", "compare.tsv", "features replicate"),
    ("insert sae g.fa -f 0,1 --motifs m.meme --contexts 20 --context 50", "insertion.tsv", "Insertion of motifs"),
)


@pytest.mark.parametrize(("call", "made", "said"), CALLS, ids=["motifs", "compare", "insert"])
def test_the_verbs_in_two_shards(work, call, made, said):
    head = f"MEME version 4\nALPHABET= ACGT\nMOTIF M0\nletter-probability matrix: w= {MOTIFS[0].width} nsites= 100"
    rows = [" ".join(map(str, row / row.sum())) for row in MOTIFS[0].counts]
    (work / "m.meme").write_text("\n".join([head, *rows, ""]))
    for i in (1, 2):
        done = run(*call.split(), "--shard", f"{i}/2", "-o", f"shards/{i}", cwd=work)
        assert done.returncode == 0 and f"shard {i}/2 in shards/{i}; sae-tracks merge-shards" in done.stderr
        assert {path.name for path in (work / "shards" / f"{i}").iterdir()} == {"shard.npz", "provenance.json"}
    again = run(*call.split(), "--shard", "2/2", "-o", "shards/2", cwd=work)
    assert again.returncode == 0 and "shard 2/2 in shards/2 is complete already" in again.stderr
    whole = run(*call.split(), "-o", "whole", cwd=work)
    merged = run("merge-shards", "shards/2", "shards/1", "-o", "merged", cwd=work)
    assert whole.returncode == merged.returncode == 0, merged.stderr
    assert (work / "merged" / made).read_bytes() == (work / "whole" / made).read_bytes()
    assert said in merged.stdout and merged.stdout == whole.stdout
    missing = run("merge-shards", "shards/1", "-o", "x", cwd=work)
    assert missing.returncode == 1 and missing.stderr.startswith("error: shard 2/2 is missing: run ")
    wrong = run(*call.split(), "--shard", "3/2", "-o", "x", cwd=work)
    assert wrong.returncode == 1 and "write i/n" in wrong.stderr and not (work / "x").exists()
