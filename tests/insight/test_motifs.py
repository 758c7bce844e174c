"""What features respond to: known answers, other readers, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import planted
import pysam
import pytest
import torch
from command_line import run
from hypothesis import given
from hypothesis import strategies as st
from toy import OneHotLM, identity_sae, random_dna, unit_stats, write_fasta

from sae_tracks.dna import codes, reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import FeatureBlock
from sae_tracks.genome import Genome
from sae_tracks.genome_line import GenomeLine
from sae_tracks.insight.align import align
from sae_tracks.insight.motifs import MotifQuestion, consensus_of, feature_motifs
from sae_tracks.insight.places import FLANK, Places, windows_at
from sae_tracks.insight.separation import like, separation
from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM, describe, load_lm
from sae_tracks.metrics import Halves
from sae_tracks.motifs import jaspar_motifs, read_motifs
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE, save_sae
from sae_tracks.source import ReadBases, Source

FACTORS = ("CTCF", "REST", "NRF1", "ZNF460", "PAX6", "ZNF143", "ZBTB33", "HSF1")
EITHER = (1, 3)  # features that fire at sites on either strand
RANDOM, DEAD = len(FACTORS), len(FACTORS) + 1
UNIFORM = np.full(4, 0.25)


class MatrixLM:
    """Channel i is how well the word that ends at a base fits matrix i, above a threshold: a causal reader of sites.

    Some channels read both strands. One fires after random words, one never.
    """

    model_id, revision, checksum, architecture = "matrices", None, "matrices", "toy"
    layer, hook_name, causal, max_length = 3, "toy", True, 4096

    def __init__(self, motifs, margin=10.0):
        self.odds = [motif.log_odds() for motif in motifs]
        self.least = [odds.max(axis=1).sum() - margin for odds in self.odds]
        self.d_model = len(motifs) + 2

    def activations(self, sequence):
        letters = np.append(codes(sequence), 4)[:-1]
        out = np.zeros((len(letters), self.d_model), np.float32)
        for i, (odds, least) in enumerate(zip(self.odds, self.least)):
            for matrix in (odds, odds[::-1, ::-1]) if i in EITHER else (odds,):
                out[:, i] = np.maximum(out[:, i], np.maximum(_ends(matrix, letters) - least, 0))
        out[:, len(self.odds)] = _hashed(letters)
        return torch.from_numpy(out)

    def token_starts(self, sequence):
        return np.ones(len(sequence), bool)


def _ends(matrix, letters):
    """(n,) score of the word that ends at each base; very low where there is none."""
    padded = np.concatenate([matrix, np.full((len(matrix), 1), -99.0)], axis=1)
    total, w = np.full(len(letters), -999.0), len(matrix)
    if len(letters) >= w:
        total[w - 1 :] = sum(padded[j][letters[j : len(letters) - w + 1 + j]] for j in range(w))
    return total


def _hashed(letters, width=11):
    """(n,) 1 to 2 after about one in 400 words of eleven letters, which have nothing in common."""
    out = np.zeros(len(letters), np.float32)
    if len(letters) >= width:
        code = np.lib.stride_tricks.sliding_window_view(letters.astype(np.int64) & 3, width) @ 4 ** np.arange(width)
        mixed = code * 2654435761 % (1 << 32)
        mixed = (mixed ^ mixed >> 15) * 2246822519 % (1 << 32)
        mixed = mixed ^ mixed >> 13
        out[width - 1 :] = np.where(mixed % 400 == 0, 1 + mixed / (1 << 32), 0)
    return out


def site_genome(motifs, n, sites, seed=0):
    """Random sequence with sites that are drawn from each matrix, on both strands, also at the very ends."""
    rng = np.random.default_rng(seed)
    letters = rng.integers(0, 4, n)
    order = rng.permutation(np.repeat(np.arange(len(motifs)), sites))
    starts = np.linspace(0, n - 40, len(order)).astype(int)
    for i, start in zip(order, starts):
        p = motifs[i].counts / motifs[i].counts.sum(axis=1, keepdims=True)
        site = np.array([rng.choice(4, p=row) for row in p])
        site = site if rng.random() < 0.5 else 3 - site[::-1]
        start = n - len(site) if start == starts[-1] else start
        letters[start : start + len(site)] = site
    return np.frombuffer(b"ACGT", np.uint8)[letters].tobytes().decode()


def matrix_source(folder, motifs, text, **options):
    lm = MatrixLM(motifs)
    sae = identity_sae(lm.d_model)
    sae.stats = unit_stats(lm.d_model).assign(dead=np.arange(lm.d_model) == DEAD)
    genome = Genome(write_fasta(folder / "g.fa", c1=text))
    return Source(lm, sae, genome, window=4096, context=64, allow_mismatch=True, **options)


@pytest.fixture(scope="module")
def jaspar():
    pytest.importorskip("pyjaspar")
    return jaspar_motifs("JASPAR2024")


@pytest.fixture(scope="module")
def sites(jaspar):
    by_name = {motif.tf.upper(): motif for motif in reversed(jaspar)}  # the first of each factor
    return [by_name[name] for name in FACTORS]


@pytest.fixture(scope="module")
def text(sites):
    """With a gap between stretches and a few unknown bases."""
    known = site_genome(sites, 300_000, 250)
    return known[:60_000] + "N" * 140 + known[60_140:80_000] + "NNN" + known[80_003:]


@pytest.fixture(scope="module")
def known(tmp_path_factory, sites, text):
    """The motifs of a model that knows eight matrices, its features compared with all of JASPAR."""
    source = matrix_source(tmp_path_factory.mktemp("known"), sites, text)
    return feature_motifs(source, features=range(DEAD + 1), motifs="JASPAR2024")


def test_eight_planted_motifs_are_named_by_their_matrices(known, sites):
    rows = known.table.head(len(FACTORS))
    assert rows["match"].tolist() == [motif.matrix_id for motif in sites]
    assert (rows["match_q"] < 1e-3).all() and (rows["auroc_low"] > 0.9).all()
    assert rows["name"].tolist() == [f"{motif.tf} ({motif.matrix_id})" for motif in sites]
    assert (rows["name_from"] == "motif").all() and (rows["why"] == "").all()
    for motif, row in zip(known.motifs, rows.itertuples()):
        assert motif.width == row.width == len(row.consensus) and motif.counts.sum(axis=1).max() == row.sites


def test_a_feature_that_fires_at_random_has_no_motif_and_no_name(known):
    row = known.table.loc[RANDOM]
    assert row["places"] > 200 and row["report_places"] > 100
    assert (row["name"], row["consensus"], row["width"], row["match"]) == ("", "", 0, "")
    assert row["why"] in ("no informative column", "tells no places from silent ones on the report half")


def test_a_dead_feature_gets_a_row_that_says_so_if_it_is_asked_for(known):
    row = known.table.loc[DEAD]
    assert (row["why"], row["places"], row["name"]) == ("never active in the regions", 0, "")
    assert np.isnan(row["auroc"])


def test_dead_features_are_left_out_unless_asked_for(tmp_path):
    text = random_dna(210_000)
    source = Source(OneHotLM(4096), identity_sae(), Genome(write_fasta(tmp_path / "g.fa", c=text)), allow_mismatch=True)
    source.sae.stats["dead"] = [False, True, True, True, True, True]
    table = feature_motifs(source, places=20).table
    assert table["feature"].tolist() == ["f0"] and table["consensus"].tolist() == ["A"]
    source.sae.stats["dead"] = True
    with pytest.raises(SaeTracksError, match="all features of this SAE are dead"):
        feature_motifs(source, places=20)


def test_the_other_strand_of_the_mirrored_genome_gives_the_same_motifs(known, sites, text, tmp_path):
    source = matrix_source(tmp_path, sites, reverse_complement(text.encode()).decode(), read_strands=["-"])
    other = feature_motifs(source, features=range(DEAD + 1))
    assert [motif.matrix_id for motif in other.motifs] == [motif.matrix_id for motif in known.motifs]
    for one, two in zip(known.motifs, other.motifs):
        np.testing.assert_array_equal(one.counts, two.counts)
    np.testing.assert_allclose(other.table["auroc"], known.table["auroc"], atol=0.05)


def test_motifs_survive_the_meme_file_and_places_are_where_the_motif_is(known, tmp_path, text):
    known.write(tmp_path / "out")
    read = read_motifs(tmp_path / "out" / "motifs.meme")
    assert [(motif.matrix_id, motif.tf) for motif in read] == [(motif.matrix_id, motif.tf) for motif in known.motifs]
    for one, two in zip(read, known.motifs):
        np.testing.assert_allclose(one.counts, two.counts, atol=0.01)
    table = pd.read_csv(tmp_path / "out" / "motifs.tsv", sep="\t", keep_default_na=False)
    assert table["name"].tolist() == pd.read_parquet(tmp_path / "out" / "motifs.parquet")["name"].tolist()
    rows = [line.split("\t") for line in (tmp_path / "out" / "places.bed").read_text().splitlines()]
    assert [int(row[1]) for row in rows] == sorted(int(row[1]) for row in rows)
    for motif in known.motifs[:3]:
        mine = [
            row for row in rows if row[3] == motif.matrix_id and row[8] == "select" and int(row[2]) - int(row[1]) > 1
        ]
        found = [text[int(row[1]) : int(row[2])].encode() for row in mine]
        found = [one if row[5] == "+" else reverse_complement(one) for one, row in zip(found, mine)]
        letters = np.array([list(codes(one)) for one in found])
        counts = np.stack([(letters == letter).sum(axis=0) for letter in range(4)], axis=1)
        np.testing.assert_array_equal(counts, motif.counts)


def test_a_feature_of_an_alu_context_is_named_alu_first(tmp_path):
    genome, _, _ = planted.planted_genome(tmp_path, n=220_000, sites=60, repeats=150)
    lm = planted.PlantedLM()
    source = Source(lm, planted.planted_sae(lm), genome, window=4096, context=512, allow_mismatch=True)
    lines = ["MEME version 4", "ALPHABET= ACGT"]
    for motif in planted.motifs():
        lines += [f"MOTIF {motif.matrix_id}", f"letter-probability matrix: w= {motif.width} nsites= 100"]
        lines += [" ".join(f"{x / 100:g}" for x in row) for row in motif.counts]
    (tmp_path / "known.meme").write_text("\n".join(lines))
    ids = [planted.NAMES.index(("MA9002.1", "+")), planted.NAMES.index((planted.IN_REPEAT, "+"))]
    table = feature_motifs(source, features=ids, motifs=str(tmp_path / "known.meme"), repeats="alu").table
    assert table["name_from"].tolist() == ["motif", "repeat"]
    assert table["match"].tolist()[0] == "MA9002.1"
    positions = [int(word) for word in table["name"][1].removeprefix("Alu ").split("-")]
    assert 21 <= positions[0] <= positions[-1] <= 34  # where the word lies in the consensus, counted from 1
    assert table["repeat_share"][1] > 0.99 and table["repeat_share"].isna()[0]


def test_a_feature_of_third_codon_positions_is_named_by_them(tmp_path):
    """Only genes on + have G, as the last letter of every codon."""
    rng = np.random.default_rng(0)
    parts, rows, at = [], [], 0
    for number in range(120):
        between = random_dna(int(rng.integers(800, 1000)), number, "ACT")
        gene = "".join(random_dna(2, 1000 * number + i, "ACT") + "G" for i in range(200))
        strand = "+" if number % 3 else "-"
        where = f"{at + len(between) + 1}\t{at + len(between) + 600}"
        parts += [between, gene if strand == "+" else random_dna(600, number, "ACT")]
        for kind, phase in (("exon", "."), ("CDS", "0")):
            words = f'gene_id "g{number}"; transcript_id "t{number}";'
            rows.append(f"c\tx\t{kind}\t{where}\t.\t{strand}\t{phase}\t{words}")
        at += len(between) + 600
    (tmp_path / "genes.gtf").write_text("\n".join(rows) + "\n")
    genome = Genome(write_fasta(tmp_path / "g.fa", c="".join(parts)))
    source = Source(OneHotLM(4096), identity_sae(), genome, allow_mismatch=True)
    table = feature_motifs(source, features=[2, 3], annotation=[tmp_path / "genes.gtf"]).table
    assert table["name"].tolist() == ["codon position 3, CDS +", ""]
    assert table["concept"][0] == "CDS:3 +" and table["concept_share"][0] == 1
    assert table["concept_background"][0] == pytest.approx(
        0.09, abs=0.01
    )  # two genes in three on +, 600 of 1,500 bases, a third


def test_genes_of_other_regions_are_refused_before_the_genome_is_read(tmp_path):
    source = Source(
        OneHotLM(), identity_sae(), Genome(write_fasta(tmp_path / "g.fa", c=random_dna(2000), d=random_dna(500)))
    )
    source.regions = [GenomicRegion("c", 0, 2000)]
    (tmp_path / "d.bed").write_text("d\t10\t20\tx\n")
    pysam.tabix_index(str(tmp_path / "d.bed"), preset="bed")
    with pytest.raises(SaeTracksError, match=r"d\.bed\.gz has no site in the regions: leave it out"):
        MotifQuestion(ReadBases.of(source), Halves(1000), [2], annotation=[tmp_path / "d.bed.gz"])


def test_what_is_refused(tmp_path):
    source = Source(
        OneHotLM(), identity_sae(), Genome(write_fasta(tmp_path / "g.fa", c=random_dna(2000))), allow_mismatch=True
    )
    halves = Halves(1000)
    with pytest.raises(SaeTracksError, match="no feature 9: this SAE has features 0 to 5"):
        feature_motifs(source, halves, [9])
    with pytest.raises(SaeTracksError, match=r"no file .*none\.meme"):
        feature_motifs(source, halves, [0], motifs=str(tmp_path / "none.meme"))
    with pytest.raises(SaeTracksError, match="the regions, 2,000 bases, lie in one half"):
        feature_motifs(source, None, [0])
    with pytest.raises(SaeTracksError, match="--apart at least 61"):
        feature_motifs(source, halves, [0], apart=60)
    with pytest.raises(SaeTracksError, match="has no lower-case base"):
        feature_motifs(source, halves, [0], repeats="softmask")


def test_few_places_are_no_motif(tmp_path):
    text = random_dna(3000, letters="ACT")
    text = text[:500] + "G" + text[501:1500] + "G" + text[1501:]
    source = Source(OneHotLM(), identity_sae(), Genome(write_fasta(tmp_path / "g.fa", c=text)), allow_mismatch=True)
    table = feature_motifs(source, Halves(1000), [2]).table
    assert table["why"].tolist() == ["1 places on the select half, fewer than 10"]


@pytest.mark.parametrize("seed", range(3))
def test_a_word_is_found_at_any_shift_and_on_either_strand(seed):
    rng = np.random.default_rng(seed)
    word = codes(b"TGACGTCAGCGA")
    windows, others = rng.integers(0, 4, (2, 300, 61)).astype(np.uint8)
    for i in range(250):
        at = rng.integers(0, 50)
        windows[i, at : at + 12] = word if i % 3 else 3 - word[::-1]
    found = align(windows, others, UNIFORM)
    assert found is not None and consensus_of(found.counts) == "TGACGTCAGCGA"
    assert 245 <= found.counts.sum(axis=1).max() <= 265
    again = align(windows, others, UNIFORM)
    assert again is not None and np.array_equal(found.counts, again.counts)


def test_one_letter_at_a_fixed_place_is_a_motif_and_none_is_none():
    windows, others = np.random.default_rng(0).integers(0, 4, (2, 300, 61)).astype(np.uint8)
    windows[:, 30] = 2
    found = align(windows, others, UNIFORM)
    assert found is not None and consensus_of(found.counts) == "G" and found.placed[0, 30] == len(windows)
    assert align(windows[:9], others, UNIFORM) is None
    assert align(np.full((50, 61), 4, np.uint8), others, UNIFORM) is None  # N alone


@st.composite
def streams(draw):
    """Blocks of two contigs read in both directions, with few different values, so that many tie."""
    lengths = {"a": draw(st.integers(70, 900)), "b": draw(st.integers(1, 400))}
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    dense = {
        (strand, name): np.where(rng.random((n, 2)) < 0.2, rng.integers(1, 5, (n, 2)), 0).astype(np.float32)
        for strand in "+-"
        for name, n in lengths.items()
    }
    return lengths, dense, draw(st.integers(1, 300)), draw(st.integers(1, 4)), draw(st.integers(61, 90))


@given(streams())
def test_places_are_those_of_a_walk_over_the_highest_bases_of_all_tiles(stream):
    lengths, dense, step, count, apart = stream
    halves = Halves(250)
    regions = [GenomicRegion(name, 0, n) for name, n in lengths.items()]
    source = SimpleNamespace(
        genome=SimpleNamespace(lengths=lengths), sae=SimpleNamespace(d_sae=2), read_strands=["+", "-"], regions=regions
    )
    sink = Places(source, halves, [0, 1], count, apart)
    for (strand, name), values in dense.items():
        for start in range(0, len(values), step):
            part = values[start : start + step]
            base, feature = np.nonzero(part)
            indptr = np.searchsorted(base, np.arange(len(part) + 1))
            region = GenomicRegion(name, start, start + len(part))
            arrays = indptr, feature.astype(np.int32), part[base, feature]
            sink.add(FeatureBlock(region, strand, np.ones(len(part), bool), *arrays, 2))
    for feature in range(2):
        for half in range(2):
            found = sink.best(feature, half)
            contig = sink.line.contigs(found["line"])
            names = [list(lengths)[i] for i in contig]
            got = [
                (n, line - sink.line.starts[n], "+-"[s], v)
                for n, line, s, v in zip(names, *(found[k] for k in ("line", "strand", "value")))
            ]
            assert got == walked(dense, lengths, halves, feature, half, count, apart)


def walked(dense, lengths, halves, feature, half, count, apart):
    tiles = {}
    for (strand, name), values in dense.items():
        for base, value in enumerate(values[:, feature].tolist()):
            if value > 0 and halves.of(name, np.array(base)) == half:
                key = strand, name, base // apart
                if key not in tiles or value > tiles[key][0]:
                    tiles[key] = value, base
    chosen = []
    for (strand, name, _), (value, base) in sorted(tiles.items(), key=lambda one: -one[1][0]):
        ends = np.clip([base - FLANK, base + FLANK], 0, lengths[name] - 1)
        far = all(name != other or abs(base - at) >= apart for other, at, *_ in chosen)
        if len(chosen) < count and far and (halves.of(name, ends) == half).all():
            chosen.append((name, base, strand, value))
    return chosen


def test_windows_are_padded_beyond_contigs_and_turned_where_the_other_strand_was_read(tmp_path):
    text = random_dna(50, 1) + "N" * 120 + random_dna(60, 2)
    genome = Genome(write_fasta(tmp_path / "g.fa", a=text, b=random_dna(10, 3)))
    line = GenomeLine(genome.lengths, 100)
    places = np.array([0, 49, 229, line.starts["b"] + 9])
    for backwards in (False, True):
        found = windows_at(genome, line, places, np.full(4, backwards))
        for row, (name, at) in zip(found, (("a", 0), ("a", 49), ("a", 229), ("b", 9))):
            whole = "N" * FLANK + (text if name == "a" else random_dna(10, 3)) + "N" * FLANK
            expected = whole[at : at + 2 * FLANK + 1].encode()
            expected = reverse_complement(expected) if backwards else expected
            assert row.tolist() == codes(expected).tolist()


def test_the_separation_is_the_share_of_pairs_and_of_drawn_blocks():
    rng = np.random.default_rng(0)
    places, others = rng.integers(0, 8, 60) + 1.0, rng.integers(0, 8, 50) + 0.0
    auroc, low, high, p = separation(places, others, np.arange(60) // 6, np.arange(50) // 5)
    assert auroc == pytest.approx(np.mean([(a > b) + 0.5 * (a == b) for a in places for b in others]))
    assert low < auroc < high and 0 < p < 0.05
    assert separation(others, others, np.arange(50) // 5, np.arange(50) // 5)[3] == pytest.approx(0.5)


def test_each_place_gets_the_nearest_other_that_is_left():
    assert like(np.array([5, 5, 9]), np.array([9, 4, 1, 7])).tolist() == [1, 3, 0]
    assert like(np.array([5, 6]), np.array([9])).tolist() == [0]
    assert like(np.array([5]), np.array([], np.int64)).tolist() == []


def test_consensus_letters():
    rows = [[9, 1, 0, 0], [5, 5, 0, 0], [0, 5, 0, 5], [3, 3, 2, 2], [0, 0, 6, 4], [6, 2, 1, 1]]
    assert consensus_of(np.array(rows)) == "AMYNKA"


def test_the_verb_writes_all_files(tmp_path):
    torch.manual_seed(0)
    HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=514)).save_pretrained(tmp_path / "lm")
    lm = load_lm(str(tmp_path / "lm"), 3)
    weights = torch.randn(lm.d_model, 12, generator=torch.Generator().manual_seed(0))
    zeros = torch.zeros(12), torch.zeros(lm.d_model)
    sae = SAE(weights, zeros[0], weights.T.contiguous(), zeros[1], {"lm": describe(lm)}, unit_stats(12))
    save_sae(sae, tmp_path / "sae")
    write_fasta(tmp_path / "g.fa", c=random_dna(16_000))
    words = ["motifs", "sae", "g.fa", "-f", "0-3", "-o", "out", "-p", "1", "--places", "50", "-m", "lm"]
    refused = run(*words, cwd=tmp_path)
    assert refused.returncode == 1 and "lie in one half" in refused.stderr
    words += ["--select-on", "c:1-8000"]
    dry = run(*words, "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0 and "4 features in out: 16,000 bases" in dry.stdout and not (tmp_path / "out").exists()
    done = run(*words, "--logos", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made >= {"motifs.meme", "motifs.tsv", "motifs.parquet", "places.bed", "provenance.json"}
    table = pd.read_csv(tmp_path / "out" / "motifs.tsv", sep="\t")
    assert table["feature"].tolist() == ["f0", "f1", "f2", "f3"]
    with_motif = table.loc[table["width"] > 0, "feature"]
    drawn = {path.stem for path in (tmp_path / "out" / "logos").iterdir()} if len(with_motif) else set()
    assert drawn == set(with_motif)
