"""docs/bedtools.md, command by command, with the real bedtools; what comes out against a count along the bases."""

import contextlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import write_tiny_model
from toy import random_dna, write_fasta
from track_oracle import read_back

from sae_tracks.cli import main

pytestmark = pytest.mark.skipif(shutil.which("bedtools") is None, reason="needs bedtools")
PAGE = Path(__file__).parents[2] / "docs" / "bedtools.md"
LENGTHS = {"chr2": 300, "chr14": 4000}  # not in the order of the alphabet
FEATURES = ("f357", "f12", "f900")
BED6 = ["contig", "start", "end", "name", "score", "strand"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the page names, and what its commands made of them."""
    folder = tmp_path_factory.mktemp("page")
    write_tiny_model(folder, d_sae=1000, bias=-0.1, max_seq_len=514)
    write_fasta(folder / "hg38.fa", **{name: random_dna(n, seed=n) for name, n in LENGTHS.items()})
    rng = np.random.default_rng(0)
    starts = np.sort(rng.integers(0, 3975, 120))
    starts[-1] = 3980  # ends with the contig
    rows = [("chr14", s, s + 20, rng.choice(["MA1596.1", "MA0139.2"]), 500, rng.choice(["+", "-"])) for s in starts]
    write(folder / "jaspar_chr14.bed", rows)
    write(folder / "ma1596.bed", [row for row in rows if row[3] == "MA1596.1"])
    write(folder / "tss.bed", [("chr14", p, p + 1, f"g{p}", 0, s) for p, s in ((3000, "-"), (90, "+"), (1500, "+"))])
    write(folder / "gaps.bed", [("chr14", 1000, 1200)])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(), re.DOTALL):
            run_python(code) if language == "python" else run_shell(code, patch)
    return folder


def write(path, rows):
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


def run_python(code):
    exec(compile(code, str(PAGE), "exec"), {})


def run_shell(code, patch):
    """Run each line; a verb runs in this process, and what follows its pipe is given what it prints."""
    for line in code.splitlines():
        given, rest = "", line
        if line.startswith("sae-tracks "):
            command, _, rest = line.partition("|")
            given = run_verb(shlex.split(command), patch)
        if rest.strip():
            words = ["bash", "-e", "-o", "pipefail", "-c", rest]
            done = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), line


def run_verb(words, patch):
    patch.setattr(sys, "argv", words)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 0, words
    return printed.getvalue()


def rows(folder, name, columns=()):
    names = [*BED6, *columns]
    return pd.read_csv(folder / name, sep="\t", header=None, names=names if columns else None, na_values=["None", "."])


def painted(table, length=LENGTHS["chr14"]):
    """(length,) int: how many rows lie on each base."""
    depth = np.zeros(length, int)
    for start, end in zip(table[1], table[2]):
        depth[start:end] += 1
    return depth


@pytest.fixture(scope="module")
def active(folder):
    """(length,) bool: where f357 is active, from its bigWig."""
    return read_back(folder / "tracks" / "f357.bw", "chr14") > np.float32(0.15)


@pytest.fixture(scope="module")
def sites(folder):
    return rows(folder, "jaspar_chr14.bed")


def per_site(sites, values, how):
    return [how(values[start:end]) for start, end in zip(sites[1], sites[2])]


def test_the_page_runs_and_leaves_the_files_that_it_names(folder, active):
    made = set(re.findall(r"(?:> |-fo |-o )([a-z]\w+\.[A-Za-z]+)", PAGE.read_text()))
    assert len(made) > 15
    assert all((folder / name).stat().st_size for name in made)
    assert 200 < active.sum() < 3000
    features = rows(folder, "features.bed")
    assert set(features[3]) == set(FEATURES) and set(features[0]) == {"chr14"}
    for feature in FEATURES:
        assert rows(folder, f"{feature}.bed").equals(features[features[3] == feature].reset_index(drop=True))


def test_sites_that_are_touched(folder, active, sites):
    touched = per_site(sites, active, np.any)
    assert 0 < sum(touched) < len(sites)
    assert rows(folder, "touched.bed").equals(sites[touched].reset_index(drop=True))
    overlaps = rows(folder, "overlaps.bed")
    assert overlaps[12].sum() == sum(per_site(sites, active, np.sum))
    near = [active[start : end + 20].any() for start, end in zip(sites[1], sites[2])]
    assert rows(folder, "near.bed").equals(sites[near].reset_index(drop=True))
    half = rows(folder, "half.bed")
    covered = rows(folder, "joined.bed")
    longest = [
        max(0, *(np.minimum(covered[2], end) - np.maximum(covered[1], start))) for start, end in zip(sites[1], sites[2])
    ]
    assert half.equals(sites[np.array(longest) >= 10].reset_index(drop=True))


def test_numbers_per_site(folder, active, sites):
    f357, maxima = rows(folder, "f357.bed"), rows(folder, "site_maxima.bed")
    for (_, site), found in zip(sites.iterrows(), maxima[6]):
        lying = f357[(f357[1] < site[2]) & (f357[2] > site[1])][4]
        assert found == lying.max() if len(lying) else np.isnan(found)
    coverage = rows(folder, "site_coverage.bed")
    np.testing.assert_allclose(coverage[9], per_site(sites, active, np.mean), atol=1e-6)
    values, means = read_back(folder / "tracks" / "f357.bw", "chr14"), rows(folder, "site_means.bed")
    np.testing.assert_allclose(means[6], per_site(sites, values, np.mean), rtol=1e-6)
    np.testing.assert_allclose(means[7], per_site(sites, values, np.max), rtol=1e-6)


def test_the_nearest_transcription_start(folder):
    closest, starts = rows(folder, "closest.bed"), {90: "+", 1500: "+", 3000: "-"}
    for start, end, place, distance in zip(closest[1], closest[2], closest[7], closest[12]):
        away = {p: 0 if start <= p < end else p - end + 1 if p >= end else start - p for p in starts}
        assert abs(distance) == away[place] == min(away.values())
        upstream = (end <= place) == (starts[place] == "+")
        assert distance == 0 or (distance < 0) == upstream


def test_islands_and_depth(folder, active):
    islands, joined = rows(folder, "islands.bed"), rows(folder, "joined.bed")
    assert islands[[0, 1, 2, 3]].to_numpy().tolist() == joined[[0, 1, 2, 4]].to_numpy().tolist()
    assert len(islands) < len(rows(folder, "f357.bed"))
    depth = np.zeros(LENGTHS["chr14"], int)
    for _, start, end, count in rows(folder, "depth.bedgraph").itertuples(index=False):
        depth[start:end] = count
    np.testing.assert_array_equal(depth, painted(rows(folder, "features.bed")))
    np.testing.assert_array_equal(painted(rows(folder, "f357.bed")) > 0, active)


def test_likeness(folder, active):
    motif = painted(rows(folder, "ma1596.bed")) > 0
    shared, either, jaccard, _ = (folder / "jaccard.txt").read_text().splitlines()[1].split()
    assert [int(shared), int(either)] == [(active & motif).sum(), (active | motif).sum()]
    assert float(jaccard) == pytest.approx((active & motif).sum() / (active | motif).sum(), abs=1e-4)
    assert re.search(r"\n[\d.e-]+\t[\d.e-]+\t[\d.e-]+\t\S+\n$", (folder / "fisher.txt").read_text())
    joined, shuffled = rows(folder, "joined.bed"), rows(folder, "shuffled.bed")
    assert sorted(shuffled[2] - shuffled[1]) == sorted(joined[2] - joined[1])
    elsewhere = painted(shuffled)
    assert elsewhere.max() == 1 and not elsewhere[1000:1200].any()
    hit = sum(per_site(rows(folder, "ma1596.bed"), elsewhere > 0, np.any))
    assert int((folder / "by_chance.txt").read_text()) == hit


def test_sequences_around_the_highest_bases(folder):
    values, text = read_back(folder / "tracks" / "f357.bw", "chr14"), random_dna(4000, seed=4000)
    summits = rows(folder, "summits.bed")
    heights = values[summits[1].to_numpy()]
    assert (np.diff(heights) <= 0).all() and len(summits) == min(500, len(rows(folder, "f357.bed")))
    records = (folder / "f357.fa").read_text().split()
    for name, letters, at in zip(records[::2], records[1::2], summits[1]):
        start, end = max(at - 30, 0), min(at + 11, 4000)
        assert (name, letters) == (f">chr14:{start}-{end}", text[start:end])


def test_the_scores_of_the_file(folder, active):
    table = pd.read_csv(folder / "scores" / "metrics.tsv", sep="\t")
    assert {"MA1596.1", "MA0139.2", *"ACGT"} == set(table["concept"]) and set(table["feature"]) <= set(FEATURES)
    sites, checked = rows(folder, "jaspar_chr14.bed"), 0
    for row in table[(table["feature"] == "f357") & table["concept"].str.startswith("MA")].itertuples():
        motif = painted(sites[(sites[3] == row.concept) & (sites[5] == row.site_strand)]) > 0
        assert (row.tp, row.fp, row.fn) == ((active & motif).sum(), (active & ~motif).sum(), (~active & motif).sum())
        checked += 1
    assert checked
