"""Bins, scales and borders of bigWigs, against the activations base by base."""

import numpy as np
import pyBigWig
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from toy import OneHotLM
from track_oracle import FEATURES, activations, any_readable, genomes, read_back, regions_of, spans, toy_source

from sae_tracks.errors import SaeTracksError
from sae_tracks.json_file import read_json
from sae_tracks.tracks import BigWigValues, write_bigwigs
from sae_tracks.tracks.folder import track_name

A, DEAD = 0, 3  # features of the toy model; the genome below has no T


def in_bins(values, size, stat):
    """What bins of the readable bases hold, bin by bin, on every base of the bin."""
    out = np.full(len(values), np.nan)
    for first in range(0, len(values), size):
        part = values[first : first + size]
        part = part[~np.isnan(part)]
        if len(part):
            out[first : first + size] = part.max() if stat == "max" else part.mean()
    return out


@given(genomes(), spans(), st.integers(2, 70), st.sampled_from(["max", "mean"]), st.sampled_from(["raw", "max"]))
@settings(max_examples=15, deadline=None)
def test_bins_hold_the_maximum_or_mean_of_their_readable_bases(records, drawn, size, stat, scale):
    regions = regions_of(records, drawn)
    assume(any_readable(records, regions))
    with toy_source(records, regions, ["+", "-"]) as (source, folder):
        source.sae.stats["max"] = np.float32([1, 2, 3, 0.7, 0.02, 1])
        write_bigwigs(source, FEATURES, folder, BigWigValues(size, stat, scale), threads=2)
        for (feature, strand), expected in activations(source).items():
            divisor = float(source.sae.maxima()[feature]) if scale == "max" else 1
            for contig, values in expected.items():
                found = read_back(folder / f"{track_name(feature, strand, '+-')}.bw", contig)
                np.testing.assert_allclose(found, in_bins(values, size, stat) / divisor, rtol=1e-6)


def test_bins_lie_at_multiples_of_their_size_on_each_contig_and_end_with_it():
    with toy_source({"c": "N" * 7 + "AAC" + "N" * 25 + "CA", "d": "AAAAA"}) as (source, folder):
        (path,) = write_bigwigs(source, [A], folder, BigWigValues(4, "mean"))
        with pyBigWig.open(str(path)) as file:
            assert file.intervals("c") == ((4, 8, 1.0), (8, 12, 0.5), (32, 36, 0.0), (36, 37, 1.0))
            assert file.intervals("d") == ((0, 5, 1.0),)


def test_a_bin_of_one_base_is_the_track_itself():
    with toy_source({"c": "ACGNA"}) as (source, folder):
        (path,) = write_bigwigs(source, [A], folder / "plain")
        (one,) = write_bigwigs(source, [A], folder / "one", BigWigValues(1, "mean"))
        assert one.read_bytes() == path.read_bytes()


def test_fractions_of_the_maximum_and_their_record():
    with toy_source({"c": "ACA"}) as (source, folder):
        source.sae.stats["max"] = np.float32([4, 4, 4, 0, 4, 4])
        paths = write_bigwigs(source, [A, DEAD], folder, BigWigValues(scale="max"))
        assert read_back(paths[0], "c").tolist() == [0.25, 0, 0.25]
        assert read_back(paths[1], "c").tolist() == [0, 0, 0]
        record = read_json(folder / "provenance.json")
        assert (record["scale"], record["bin_size"], record["bin_stat"]) == ("max", 1, "max")


def test_a_feature_that_fires_but_was_dead_when_measured_has_no_fraction():
    with toy_source({"c": "ACA"}) as (source, folder):
        source.sae.stats["max"] = np.float32([0, 1, 1, 1, 1, 1])
        with pytest.raises(SaeTracksError, match=r"f0 has values, but was dead .* --scale raw"):
            write_bigwigs(source, [A], folder, BigWigValues(scale="max"))
        source.sae.stats = None
        with pytest.raises(SaeTracksError, match="--scale raw"):
            write_bigwigs(source, [A], folder, BigWigValues(scale="max"))


@pytest.mark.parametrize(
    "wrong, message", [({"bin_size": 0}, "at least 1"), ({"bin_stat": "sum"}, "bin_stat"), ({"scale": "log"}, "scale")]
)
def test_values_that_are_none_are_refused(wrong, message):
    with pytest.raises(SaeTracksError, match=message):
        BigWigValues(**wrong)


class SixteenthsLM(OneHotLM):
    """Channel 0 counts the bases read before in sixteenths: every base has a value of its own, exact in float32."""

    def activations(self, sequence):
        out = super().activations(sequence)
        out[:, 0] = out[:, 4] * 1000 / 16 + 1 / 16
        return out


@pytest.mark.parametrize(
    "records, expected",
    [
        ({"c": "A" * 5}, {"c": [1, 2, 3, 4, 5]}),  # a contig shorter than a window; first and last base
        ({"c": "A"}, {"c": [1]}),  # one base
        ({"c": "NANNA"}, {"c": [0, 2, 0, 0, 5]}),  # runs of one base between N
        ({"c": "A" * 24 + "A" * 6}, {"c": [*range(1, 25), *range(7, 13)]}),  # seam of two windows, 6 bases of context
        ({"c": "A" + "N" * 100 + "AR"}, {"c": [1, *[0] * 100, 1, 0]}),  # a long gap: the next stretch begins anew
        ({"n": "N" * 5, "c": "AA"}, {"n": [0] * 5, "c": [1, 2]}),  # a contig without a readable base
    ],
)
def test_values_at_borders(records, expected):
    """Sixteenths by base; 0 stands for no value."""
    with toy_source(records) as (source, folder):
        source.lm = SixteenthsLM()
        (path,) = write_bigwigs(source, [0], folder)
        for contig, sixteenths in expected.items():
            values = [value / 16 if value else np.nan for value in sixteenths]
            np.testing.assert_array_equal(read_back(path, contig), values)
            with pyBigWig.open(str(path)) as file:
                np.testing.assert_array_equal(file.values(contig, 0, len(values), numpy=True), np.float32(values))
                assert len(file.intervals(contig) or ()) == np.count_nonzero(sixteenths)
