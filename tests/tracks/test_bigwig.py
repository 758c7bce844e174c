"""bigWigs against the activations, read back by a library that did not write them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pybigtools
import pyBigWig
import pytest
from hypothesis import assume, given, settings
from toy import random_dna
from track_oracle import (
    FEATURES,
    activations,
    any_readable,
    genomes,
    mirrored,
    read_back,
    recut,
    regions_of,
    spans,
    toy_source,
)

import sae_tracks
from sae_tracks.bbi import read_summary
from sae_tracks.errors import SaeTracksError
from sae_tracks.json_file import read_json
from sae_tracks.threads import Took
from sae_tracks.tracks import bigwig, export
from sae_tracks.tracks.bbi import bigfile as bbi
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs
from sae_tracks.tracks.bigwig import write_bigwigs
from sae_tracks.tracks.folder import track_name

A, C = 0, 1  # features of the toy model
RECORDS = {"short": "ACGT", "long": "ACCCA" * 30 + "N" * 3 + "R" + "GGGC" * 20, "gap": "N" * 150, "last": "TTTA"}


@given(genomes(), spans())
@settings(max_examples=15, deadline=None)
def test_bigwigs_hold_the_activations_of_every_base(records, drawn):
    regions = regions_of(records, drawn)
    assume(any_readable(records, regions))
    with toy_source(records, regions, ["+", "-"]) as (source, folder):
        write_bigwigs(source, FEATURES, folder)
        for (feature, strand), expected in activations(source).items():
            path = folder / f"{track_name(feature, strand, '+-')}.bw"
            for contig, values in expected.items():
                np.testing.assert_array_equal(read_back(path, contig), values)
            check_summary(path, np.concatenate(list(expected.values())))


def check_summary(path, values):
    values = values[~np.isnan(values)]
    found = read_summary(path)
    assert (found.bases, found.minimum, found.maximum) == (len(values), values.min(), values.max())
    assert found.total == pytest.approx(values.sum()) and found.squares == pytest.approx((values**2).sum())
    with pybigtools.open(str(path)) as file:
        assert file.info()["summary"]["max"] == values.max()


def test_the_nucleotide_features_are_the_letters_in_both_directions():
    for strand, letter in {"+": "A", "-": "T"}.items():
        with toy_source(RECORDS, strands=[strand]) as (source, folder):
            (path,) = write_bigwigs(source, [A], folder / "tracks")
            assert path.name == {"+": "f0.bw", "-": "f0.minus.bw"}[strand]
            for contig, sequence in RECORDS.items():
                expected = [np.nan if base in "NR" else float(base == letter) for base in sequence]
                np.testing.assert_array_equal(read_back(path, contig), expected)


def test_the_minus_read_is_the_mirrored_plus_read_of_the_reverse_complement():
    with (
        toy_source(RECORDS, strands=["-"]) as (source, folder),
        toy_source(mirrored(RECORDS)) as (other, other_folder),
    ):
        pairs = zip(write_bigwigs(source, FEATURES, folder), write_bigwigs(other, FEATURES, other_folder))
        for minus, plus in pairs:
            for contig in RECORDS:
                np.testing.assert_array_equal(read_back(minus, contig), read_back(plus, contig)[::-1])


def test_the_header_has_every_contig_in_the_order_of_the_fasta():
    with toy_source({"z": "ACGT", "a": "AC", "m": "N" * 120}) as (source, folder):
        (path,) = sae_tracks.write_bigwigs(source, [A], str(folder / "tracks"))
        with pyBigWig.open(str(path)) as file:
            assert list(file.chroms().items()) == [("z", 4), ("a", 2), ("m", 120)]


def test_the_bytes_do_not_depend_on_how_the_blocks_are_cut():
    with toy_source(RECORDS, strands=["+", "-"]) as (source, folder):
        whole = write_bigwigs(source, FEATURES, folder / "whole")
        for pieces in (1, 7):
            with toy_source(RECORDS, strands=["+", "-"]) as (other, _):
                uncut = other.blocks
                other.blocks = lambda ids, uncut=uncut, pieces=pieces, **how: recut(uncut(ids, **how), pieces)
                cut = write_bigwigs(other, FEATURES, folder / str(pieces))
            assert [path.read_bytes() for path in cut] == [path.read_bytes() for path in whole]


def test_a_dead_feature_is_a_track_of_zeros():
    with toy_source({"c": "GGGGTTTT"}) as (source, folder):
        (path,) = write_bigwigs(source, [A], folder)
        assert read_back(path, "c").tolist() == [0.0] * 8
        with pyBigWig.open(str(path)) as file:
            assert file.intervals("c") == ((0, 8, 0.0),)


def test_the_maximum_of_the_header_counts_the_first_value(tmp_path):
    runs = make_runs(np.array([0, 1, 2]), np.array([1, 2, 9]), np.float32([5, 3, 1]))
    write_bigwig(tmp_path / "x.bw", {"c": 9}, [("c", runs)], 3)
    assert read_summary(tmp_path / "x.bw").maximum == 5


def test_an_export_records_how_it_was_made():
    with toy_source(RECORDS) as (source, folder):
        write_bigwigs(source, [C, A, C], folder / "tracks")
        record = read_json(folder / "tracks" / "provenance.json")
        assert record["features"] == [A, C]
        assert record["genome"]["contigs"]["short"]["length"] == 4
        assert sorted(path.name for path in (folder / "tracks").iterdir()) == ["f0.bw", "f1.bw", "provenance.json"]


def test_regions_without_a_readable_base_are_an_error_and_leave_nothing():
    with toy_source({"c": "NNNNRR", "d": "ACGT"}) as (source, folder):
        source.regions = [source.genome.region("c")]
        with pytest.raises(SaeTracksError, match="no readable base"):
            write_bigwigs(source, [A], folder / "tracks")
        assert not list((folder / "tracks").iterdir())


def test_a_feature_outside_the_dictionary_is_an_error_before_anything_is_read():
    with toy_source(RECORDS) as (source, folder):
        with pytest.raises(SaeTracksError, match="no feature 6: this SAE has features 0 to 5"):
            write_bigwigs(source, [0, 6], folder / "tracks")
        assert not source.lm.reads and not (folder / "tracks").exists()


def test_a_folder_that_cannot_be_written_is_an_error():
    with toy_source(RECORDS) as (source, folder):
        (folder / "file").write_text("")
        with pytest.raises(SaeTracksError, match="cannot write"):
            write_bigwigs(source, [A], folder / "file" / "tracks")
        assert not source.lm.reads


def test_a_contig_that_a_bigwig_cannot_hold_is_an_error(tmp_path):
    with pytest.raises(SaeTracksError, match="more than 2,147,483,647 bases"):
        write_bigwig(tmp_path / "x.bw", {"c": 2**31}, [], 0)
    assert not list(tmp_path.iterdir())


def test_no_more_bigwigs_are_written_at_once_than_1024_handles_allow(monkeypatch):
    asked = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers):
            asked.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(bigwig, "ThreadPoolExecutor", Pool)
    with toy_source({"c": "ACGT"}) as (source, folder):
        write_bigwigs(source, [A], folder, threads=500)
        write_bigwigs(source, [A], folder, threads=2)
    assert asked[1] == 2 and asked[0] * (bbi.MOST_ZOOMS + 2) < 1000


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
n = 100_000
runs = make_runs(np.arange(n), np.arange(n) + 1, np.random.default_rng(0).random(n, dtype=np.float32))
try:
    write_bigwig(Path(sys.argv[1]), {"c": n}, [("c", runs)], n)
except ValueError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "x.bw")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cannot write {tmp_path}/x.bw: File too large\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"not a bigWig, " * 20])
def test_what_is_not_a_bigwig_is_an_error(tmp_path, content):
    (tmp_path / "x.bw").write_bytes(content)
    with pytest.raises(SaeTracksError, match=r"x\.bw is not a"):
        read_summary(tmp_path / "x.bw")


def test_the_time_of_an_export_is_that_of_a_second_reading(monkeypatch):
    """The first one also loads what is compiled, which a genome needs once."""
    with toy_source({"a": random_dna(300)}) as (source, _):
        before = []

        def started():
            before.append(len(source.lm.reads))
            return lambda: Took(1.0, 2.0)

        monkeypatch.setattr(export, "stopwatch", started)
        found = export.estimate(source, FEATURES)
        (once,) = before
        assert once > 0 and len(source.lm.reads) == 2 * once
        assert found.took == (found.windows / once, 2 * found.windows / once)
