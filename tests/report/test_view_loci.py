"""Top loci and histograms of tracks, against walks along the bases."""

import numpy as np
import pyBigWig
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_tracks.errors import SaeTracksError
from sae_tracks.tracks import loci as module
from sae_tracks.tracks.loci import top_loci


def write_bigwig(path, tracks):
    """Contigs with a value a base; NaN is no value."""
    with pyBigWig.open(str(path), "w") as bigwig:
        bigwig.addHeader([(contig, len(values)) for contig, values in tracks.items()])
        for contig, values in tracks.items():
            at = np.flatnonzero(~np.isnan(values))
            if len(at):
                bigwig.addEntries([contig] * len(at), at.tolist(), ends=(at + 1).tolist(), values=values[at].tolist())
    return path


def walk(tracks, count, apart):
    """The highest base at least `apart` from those before it, by looking at all bases each time."""
    bases = [(contig, i, float(v)) for contig, values in tracks.items() for i, v in enumerate(values) if v > 0]
    found = []
    while bases and len(found) < count:
        best = max(bases, key=lambda base: base[2])  # of equal ones the first
        found.append(best)
        bases = [b for b in bases if b[0] != best[0] or abs(b[1] - best[1]) >= apart]
    return found


values = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, float("nan")]), min_size=1, max_size=70)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(values, min_size=1, max_size=3), st.integers(1, 8), st.integers(1, 9), st.sampled_from([1, 16, 1 << 20])
)
def test_top_loci_are_those_of_a_walk_along_the_bases(tmp_path_factory, contigs, count, apart, chunk):
    tracks = {f"c{i}": np.float64(v) for i, v in enumerate(contigs)}
    if all(np.isnan(v).all() for v in tracks.values()):
        return  # a bigWig cannot be without any value
    path = write_bigwig(tmp_path_factory.mktemp("bw") / "a.bw", tracks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        found = top_loci(path, count, apart=apart)
    assert [(locus.contig, locus.position, locus.value) for locus in found.loci] == walk(tracks, count, apart)
    every = np.concatenate(list(tracks.values()))
    assert found.bases == np.isfinite(every).sum() and found.active == (every > 0).sum() == found.counts.sum()


def test_two_peaks_are_listed_from_the_distance_asked_on(tmp_path):
    track = np.zeros(300)
    track[[100, 199]] = 3, 2
    near = top_loci(write_bigwig(tmp_path / "near.bw", {"c": track}), 5, apart=100)
    assert [locus.position for locus in near.loci] == [100]
    track[200] = 1
    far = top_loci(write_bigwig(tmp_path / "far.bw", {"c": track}), 5, apart=100)
    assert [locus.position for locus in far.loci] == [100, 200]


def test_the_first_and_the_last_base_can_be_loci(tmp_path):
    track = np.zeros(250)
    track[[0, 249]] = 1, 2
    found = top_loci(write_bigwig(tmp_path / "a.bw", {"c": track}), 5)
    assert [locus.position for locus in found.loci] == [249, 0]


def test_a_value_on_an_edge_counts_in_the_upper_bin_and_the_largest_in_the_last(tmp_path):
    track = np.float64([0, 0, 1, 2, 2.5, 4, np.nan])
    found = top_loci(write_bigwig(tmp_path / "a.bw", {"c": track}), 1, bins=4)
    assert found.edges.tolist() == [0, 1, 2, 3, 4]
    assert found.counts.tolist() == [0, 1, 2, 1]
    assert (found.bases, found.active) == (6, 4)


def test_a_track_of_zeros_has_no_locus(tmp_path):
    found = top_loci(write_bigwig(tmp_path / "a.bw", {"c": np.zeros(50), "d": np.zeros(5)}), 3)
    assert (found.loci, found.counts.sum(), found.bases, found.active) == ([], 0, 55, 0)


def test_what_is_no_bigwig_is_refused(tmp_path):
    (tmp_path / "a.bw").write_bytes(b"not a bigWig, but longer than its header" * 9)
    with pytest.raises(SaeTracksError, match="bigWig"):
        top_loci(tmp_path / "a.bw", 1)
