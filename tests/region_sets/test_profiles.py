"""Means in bins around regions, against a walk along the bases, against pyBigWig, and on the mirrored genome."""

import gzip
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import OneHotLM, identity_sae, random_dna, write_fasta

from sae_tracks import Genome, Source, write_bigwigs
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import ContigLengths
from sae_tracks.region_sets.deeptools import is_deeptools, read_deeptools, write_deeptools
from sae_tracks.region_sets.groups import distinct, read_groups
from sae_tracks.region_sets.profile import (
    BinLayout,
    Profiles,
    feature_profiles,
    region_profiles,
    signal_profiles,
)

RECORDS = {
    "a": random_dna(150) + "NNN" + random_dna(101, 1) + "N" * 110 + random_dna(77, 2),
    "b": random_dna(91, 3),
    "c": "ACGT",
}
LENGTHS = {name: len(letters) for name, letters in RECORDS.items()}
FEATURES = [4, 1]  # the number of bases read before, which tells the read strands apart; C
LAYOUTS = [
    BinLayout(20, 30, 5, "start"),
    BinLayout(0, 21, 7, "TES"),
    BinLayout(12, 12, 1, "center"),
    BinLayout(6, 0, 3, "TSS"),
    BinLayout(10, 20, 5, body=35),
    BinLayout(0, 0, 2, body=40),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("profiles")


@pytest.fixture(scope="module")
def genome(folder):
    return Genome(write_fasta(folder / "g.fa", **RECORDS))


def source_of(genome, strands=("+",)):
    return Source(OneHotLM(), identity_sae(), genome, read_strands=strands, context=10)


def dense(genome, strand):
    """(n, 6) of each contig: every feature at every base, NaN where nothing was read."""
    found = {name: np.full((length, 6), np.nan) for name, length in LENGTHS.items()}
    for block in source_of(genome, [strand]).blocks():
        part = block.to_scipy().toarray().astype(np.float64)
        part[~block.readable] = np.nan
        found[block.region.contig][block.region.start : block.region.end] = part
    return found


def walk(values, start, end, strand, layout):
    """(B, ...) means of values (n, ...) of one contig, base by base along the strand of a region."""
    length = end - start

    def spans():
        """First and last step of each bin; step 0 is the first base of the region."""
        origin = {"start": 0, "TSS": 0, "center": length // 2}.get(layout.point, length)
        if layout.body is not None:
            origin = 0
        for first in range(-layout.before, 0, layout.bin_size):
            yield origin + first, origin + first + layout.bin_size
        if layout.body is not None:
            bins, origin = layout.body // layout.bin_size, length
            for i in range(bins):
                first = i * length // bins
                yield first, max((i + 1) * length // bins, first + 1)
        for first in range(0, layout.after, layout.bin_size):
            yield origin + first, origin + first + layout.bin_size

    rows = []
    for first, last in spans():
        places = [end - 1 - step if strand == "-" else start + step for step in range(first, last)]
        inside = [values[place] for place in places if 0 <= place < len(values)]
        known = [value for value in inside if np.isfinite(value).all()]
        rows.append(np.mean(known, axis=0) if known else np.full(values.shape[1:], np.nan))
    return np.array(rows)


def table(*rows, groups=None):
    """Sites of (contig, start, end, strand)."""
    sites = pd.DataFrame(rows, columns=["Chromosome", "Start", "End", "Strand"])
    group = pd.Categorical(groups or ["all"] * len(rows))
    return sites.astype({"Chromosome": "category"}).assign(Name="", Score=np.nan, TF="", Group=group)


EDGES = table(
    *(("a", 0, 1, strand) for strand in "+-."),
    *(("a", len(RECORDS["a"]) - 1, len(RECORDS["a"]), strand) for strand in "+-"),
    *(("b", 0, 91, strand) for strand in "+-"),
    *(("a", 140, 161, strand) for strand in "+-"),
    ("a", 240, 380, "-"),
    ("a", 142, 149, "-"),
    ("b", 3, 12, "+"),
    ("b", 40, 42, "."),
)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("strand", "+-")
def test_features_equal_a_walk_along_the_bases(genome, layout, strand):
    found = feature_profiles(source_of(genome, [strand]), EDGES, layout, FEATURES)
    values = dense(genome, strand)
    expected = [
        walk(values[contig][:, FEATURES], start, end, of, layout)
        for contig, start, end, of in EDGES[["Chromosome", "Start", "End", "Strand"]].itertuples(index=False)
    ]
    assert found.columns == (["f4", "f1"] if strand == "+" else ["f4.minus", "f1.minus"])
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    assert np.isnan(found.values).any() or layout.after == 0


def test_along_and_against_are_the_reading_in_the_direction_of_the_region_and_the_other(genome):
    layout = BinLayout(10, 10, 5)
    both = feature_profiles(source_of(genome, "+-"), EDGES, layout, FEATURES)
    plus, minus = (feature_profiles(source_of(genome, [s]), EDGES, layout, FEATURES).values for s in "+-")
    assert both.columns == ["f4.along", "f4.against", "f1.along", "f1.against"]
    for row, strand in enumerate(EDGES["Strand"]):
        along, against = (minus, plus) if strand == "-" else (plus, minus)
        np.testing.assert_array_equal(both.values[row, :, 0::2], along[row])
        np.testing.assert_array_equal(both.values[row, :, 1::2], against[row])
    assert not np.array_equal(plus, minus, equal_nan=True)


@st.composite
def drawn(draw):
    """Regions of contig b, and where their bins lie."""
    spans = st.tuples(st.integers(0, 90), st.integers(0, 90), st.sampled_from("+-.")).filter(lambda s: s[0] != s[1])
    rows = [("b", min(a, b), max(a, b), strand) for a, b, strand in draw(st.lists(spans, min_size=1, max_size=5))]
    size = draw(st.integers(1, 4))
    bases = st.integers(0, 12).map(lambda bins: bins * size)
    before, after = draw(bases), draw(bases)
    if draw(st.booleans()):
        return rows, BinLayout(before, after, size, body=draw(st.integers(1, 30)) * size)
    return rows, BinLayout(before, after or size, size, draw(st.sampled_from(["start", "end", "center"])))


@given(drawn())
@settings(max_examples=60)
def test_any_regions_equal_a_walk(genome, regions_and_layout):
    rows, layout = regions_and_layout
    found = feature_profiles(source_of(genome), table(*rows), layout, [4, 1]).values
    values = dense(genome, "+")["b"][:, [4, 1]]
    expected = [walk(values, start, end, strand, layout) for _, start, end, strand in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_mirrored_genome_gives_the_same_rows(genome, folder, layout):
    letters = {name: reverse_complement(record.encode()).decode() for name, record in RECORDS.items()}
    mirrored = Genome(write_fasta(folder / "mirrored.fa", **letters))
    stranded = EDGES[EDGES["Strand"] != "."]
    length = stranded["Chromosome"].astype(str).map(LENGTHS)
    turned = stranded.assign(
        Start=length - stranded["End"],
        End=length - stranded["Start"],
        Strand=stranded["Strand"].map({"+": "-", "-": "+"}),
    )
    ours = feature_profiles(source_of(genome, "+-"), stranded, layout, FEATURES)
    theirs = feature_profiles(source_of(mirrored, "+-"), turned, layout, FEATURES)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_an_exported_bigwig_gives_the_same_numbers_as_the_features_and_as_plain_loops(genome, folder, layout):
    paths = write_bigwigs(source_of(genome), FEATURES, folder / "tracks")
    by_name = {path.stem: path for path in paths}
    found = signal_profiles([by_name["f4"], by_name["f1"]], EDGES, layout, genome)
    assert found.columns == ["f4", "f1"]
    np.testing.assert_allclose(
        found.values, feature_profiles(source_of(genome), EDGES, layout, FEATURES).values, rtol=1e-6
    )
    for k, name in enumerate(found.columns):
        with pyBigWig.open(str(by_name[name])) as file:
            every = {contig: np.array(file.values(contig, 0, length)) for contig, length in file.chroms().items()}
        for row, (contig, *site) in enumerate(EDGES[["Chromosome", "Start", "End", "Strand"]].itertuples(index=False)):
            np.testing.assert_allclose(found.values[row, :, k], walk(every[contig], *site, layout), rtol=1e-6)


def write_signal(path, contigs, *runs):
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(contigs.items()))
        for contig, start, end, value in runs:
            file.addEntries([contig], [start], ends=[end], values=[value])
    return path


def test_signals_of_others_may_be_negative_have_other_names_and_miss_contigs(folder):
    chromosomes = ContigLengths(folder / "x.fa", {"chr1": 100, "chr2": 50})
    signal = write_signal(folder / "s.bw", {"1": 100}, ("1", 10, 20, -2.0), ("1", 20, 30, 4.0))
    sites = table(("chr1", 15, 25, "+"), ("chr2", 5, 9, "+"))
    found = signal_profiles([signal, signal], sites, BinLayout(10, 20, 10), chromosomes, alias="ucsc")
    assert found.columns == ["s.bw 1", "s.bw 2"]
    assert np.array_equal(found.values[0, :, 0], np.float32([-2, 1, 4]))
    assert np.isnan(found.values[1]).all()
    with pytest.raises(SaeTracksError, match=r"no contig of s\.bw is in x\.fa"):
        signal_profiles([signal], sites, BinLayout(), chromosomes)
    other = write_signal(folder / "other.bw", {"chr1": 99}, ("chr1", 1, 2, 1.0))
    with pytest.raises(SaeTracksError, match=r"chr1 has 99 bases there and 100 here"):
        signal_profiles([other], sites, BinLayout(), chromosomes)
    (folder / "no.bw").write_text("chr1\t1\t9\n")
    with pytest.raises(SaeTracksError, match="bedGraph has 4"):
        signal_profiles([folder / "no.bw"], sites, BinLayout(), chromosomes)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"before": 15}, "--before 15: it must be a multiple of the bin size, 10"),
        ({"after": -10}, "--after -10"),
        ({"body": 5}, "--scale-regions 5"),
        ({"bin_size": 0}, "at least 1 base"),
        ({"before": 0, "after": 0}, "nothing to draw"),
    ],
)
def test_bins_that_do_not_fit_are_refused(how, message):
    with pytest.raises(SaeTracksError, match=message):
        BinLayout(**how)


def planted(regions=40, seed=0):
    """Values of one column and two bins, some missing, of regions in blocks of 10 kb."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(1, size=(regions, 2, 1)).astype(np.float32)
    values[rng.random((regions, 2)) < 0.2] = np.nan
    rows = [("a", 3000 * i, 3000 * i + 5, "+") for i in range(regions)]
    sites = table(*rows, groups=["one" if i % 3 else "two" for i in range(regions)])
    return Profiles(sites, BinLayout(10, 10, 10), ["f1"], values)


def test_means_leave_out_what_is_missing_and_intervals_are_of_draws_of_whole_blocks():
    profiles = planted()
    found = profiles.means(seed=3).set_index(["group", "start"])
    block = profiles.sites["Start"].to_numpy() // 10_000
    times = np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), 1000)
    for group in ("one", "two"):
        for b, start in enumerate((-10, 0)):
            mine = (profiles.sites["Group"] == group).to_numpy() & np.isfinite(profiles.values[:, b, 0])
            value, of = profiles.values[mine, b, 0].astype(float), block[mine]
            drawn = [np.average(value, weights=one[of]) for one in times if one[of].any()]
            row = found.loc[(group, start)]
            assert row["regions"] == mine.sum()
            assert row["mean"] == pytest.approx(value.mean())
            assert [row["low"], row["high"]] == pytest.approx(np.percentile(drawn, [2.5, 97.5]))


def test_regions_in_few_blocks_have_a_mean_without_an_interval():
    found = planted(12).means()
    assert found["mean"].notna().all()
    assert found[["low", "high"]].isna().all(axis=None)


def test_regions_are_sorted_within_their_group_and_those_without_a_value_come_last():
    profiles = planted()
    profiles.values[4] = np.nan
    for order, sign in (("descend", -1), ("ascend", 1)):
        found = profiles.sort(order)
        assert found.sites["Group"].tolist() == sorted(profiles.sites["Group"])
        for group in ("one", "two"):
            mine = found.values[(found.sites["Group"] == group).to_numpy(), :, 0]
            means = [row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in mine]
            known = [mean for mean in means if np.isfinite(mean)]
            assert known == sorted(known, key=lambda mean: sign * mean)
            assert np.isfinite(means[: len(known)]).all()
    assert profiles.sort("keep") is profiles


def test_a_matrix_comes_back_and_its_lines_are_those_of_deeptools(tmp_path):
    profiles = planted().sort("descend")
    both = profiles.beside(replace(profiles, values=-2 * profiles.values))
    path = tmp_path / "m.matrix.gz"
    write_deeptools(both, path)
    again = read_deeptools(path)
    assert both.columns == again.columns == ["f1 1", "f1 2"]
    assert again.layout == both.layout
    np.testing.assert_array_equal(again.values, both.values)
    same = ["Chromosome", "Start", "End", "Strand", "Group"]
    pd.testing.assert_frame_equal(again.sites[same], both.sites[same], check_dtype=False, check_categorical=False)
    with gzip.open(path, "rt") as file:
        head, first, *rest = file.read().splitlines()
    assert head.startswith('@{"upstream":[10,10],"downstream":[10,10],"body":[0,0],"bin size":[10,10],"ref point":')
    assert first.split("\t")[3:6] == [".", ".", "+"]
    assert len(first.split("\t")) == 6 + 2 * 2 and 1 + len(rest) == 40
    made = path.read_bytes()
    write_deeptools(both, path)
    assert path.read_bytes() == made


def test_what_is_no_whole_matrix_is_refused(tmp_path):
    path = tmp_path / "m.matrix.gz"
    write_deeptools(planted(), path)
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    for text, message in (
        ("".join(lines[:-1]), "cut short: it has 39 regions of 40"),
        ("".join([lines[0].replace('"upstream":[10]', '"upstream":[10,20]'), *lines[1:]]), "upstream"),
        ("".join([lines[0].replace('"unscaled 5 prime":[0]', '"unscaled 5 prime":[5]'), *lines[1:]]), "unscaled"),
        ("".join([lines[0], re.sub(r"\t(\d+)\t(\d+)\t", r"\t0,\1\t5,\2\t", lines[1], count=1), *lines[2:]]), "exons"),
        ('@{"x": 1}\n', "first line of .*m.matrix.gz: field group_labels must be a list"),
        ("a\t1\t2\n", "cannot read the first line of .*m.matrix.gz as JSON"),
    ):
        path.write_bytes(gzip.compress(text.encode()))
        with pytest.raises(SaeTracksError, match=message):
            read_deeptools(path)
    assert not is_deeptools(path)
    assert not is_deeptools(tmp_path / "missing")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(SaeTracksError, match="cannot read"):
        read_deeptools(path)


GTF = "\n".join(
    f'a\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t{phase}\tgene_id "g"; transcript_id "{name}";'
    for kind, start, end, strand, phase, name in [
        ("exon", 11, 20, "+", ".", "t1"),
        ("exon", 41, 60, "+", ".", "t1"),
        ("exon", 41, 60, "+", ".", "t2"),
        ("exon", 11, 30, "+", ".", "t2"),
        ("CDS", 14, 20, "+", "0", "t1"),
        ("exon", 71, 90, "-", ".", "t3"),
    ]
)


def test_groups_are_files_or_concepts(genome, folder):
    genes, peaks = folder / "genes.gtf", folder / "peaks.bed"
    genes.write_text(GTF)
    peaks.write_text("b\t5\t9\tp1\nb\t1\t3\tp2\nother\t1\t2\tp3\n")
    found = read_groups([genes, peaks], genome)
    assert found[["Start", "End", "Strand", "Name", "Group"]].to_numpy().tolist() == [
        [10, 60, "+", "t1", "genes"],
        [70, 90, "-", "t3", "genes"],
        [5, 9, ".", "p1", "peaks"],
        [1, 3, ".", "p2", "peaks"],
    ]
    sites = read_groups([genes], genome, ["splice_donor", "TSS"])
    assert sites[["Start", "Strand", "Group"]].to_numpy().tolist() == [
        [20, "+", "splice_donor"],
        [30, "+", "splice_donor"],
        [10, "+", "TSS"],
        [89, "-", "TSS"],
    ]
    inside = read_groups([genes, peaks], genome, regions=[genome.region("a:60-71")])
    assert inside["Start"].tolist() == [10, 70] and inside["Group"].cat.categories.tolist() == ["genes"]
    named = read_groups([genes, peaks], genome, ["p2"])
    assert named["Group"].tolist() == ["p2 (peaks)"]
    with pytest.raises(SaeTracksError, match=r"no site is called 'donor'; there are .*splice_donor"):
        read_groups([genes], genome, ["donor"])
    with pytest.raises(SaeTracksError, match="no site lies in the regions"):
        read_groups([peaks], genome, regions=[genome.region("a")])
    assert distinct(["x", "y", "x"]) == ["x 1", "y", "x 2"]


def test_features_and_signals_stand_side_by_side(genome, folder):
    peaks = folder / "around.bed"
    peaks.write_text("b\t5\t9\tp1\t0\t+\na\t100\t130\tp2\t0\t-\n")
    signal = write_signal(folder / "atac.bw", LENGTHS, ("b", 0, 91, 3.0))
    found = region_profiles([peaks], BinLayout(5, 5, 5), source=source_of(genome), features=[1], bigwigs=[signal])
    alone = region_profiles([peaks], BinLayout(5, 5, 5), bigwigs=[signal])
    assert found.columns == ["f1", "atac"] and alone.columns == ["atac"]
    np.testing.assert_array_equal(found.values[:, :, 1:], alone.values)
    assert (found.values[0, :, 1] == 3).all() and np.isnan(found.values[1, :, 1]).all()
    assert set(found.facts) >= {"region_files", "layout", "bigwigs", "sae_sha256"} and "lm" not in alone.facts
    with pytest.raises(SaeTracksError, match="name a source and features"):
        region_profiles([peaks], BinLayout(), source=source_of(genome))


def test_a_bedgraph_gives_what_a_bigwig_of_the_same_rows_gives(genome, folder):
    runs = [("a", 10, 25, -2.0), ("a", 25, 30, 4.5), ("b", 0, 91, 3.0)]
    signal = write_signal(folder / "same.bw", LENGTHS, *runs)
    table = folder / "same.bedgraph"
    table.write_text("".join(f"{c}\t{s}\t{e}\t{v}\n" for c, s, e, v in runs))
    peaks = folder / "same.bed"
    peaks.write_text("b\t5\t9\tp1\t0\t+\na\t20\t28\tp2\t0\t-\na\t200\t210\tp3\t0\t+\n")
    found = region_profiles([peaks], BinLayout(20, 20, 5), bigwigs=[table, signal])
    assert found.columns == ["same.bedgraph", "same.bw"]
    np.testing.assert_array_equal(found.values[:, :, 0], found.values[:, :, 1])
    np.testing.assert_array_equal(
        found.values, region_profiles([peaks], BinLayout(20, 20, 5), bigwigs=[signal, table]).values
    )
    with pytest.raises(SaeTracksError, match=r"same\.bedgraph does not say how long contigs are: name a bigWig too"):
        region_profiles([peaks], BinLayout(20, 20, 5), bigwigs=[table])


def test_a_feature_keeps_its_name_beside_its_own_bigwig(genome, folder):
    peaks = folder / "kept.bed"
    peaks.write_text("b\t5\t9\n")
    signal = write_signal(folder / "f1.bw", LENGTHS, ("b", 0, 91, 3.0))
    other = write_signal(folder / "f2.bw", LENGTHS, ("b", 0, 91, 3.0))
    layout = BinLayout(5, 5, 5)
    found = region_profiles([peaks], layout, source=source_of(genome), features=[1, 4], bigwigs=[signal, other])
    assert found.columns == ["f1", "f4", "f1.bw", "f2"]
