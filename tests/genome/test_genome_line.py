"""All contigs of a genome on one line."""

from itertools import groupby

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from sae_tracks.genome_line import GenomeLine
from sae_tracks.regions import GenomicRegion

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


@given(LENGTHS, st.integers(1, 5), st.data())
def test_every_base_has_a_place_that_tells_contig_and_base(sizes, apart, data):
    lengths = {f"c{i}": size for i, size in enumerate(sizes)}
    line, walk, at = GenomeLine(lengths, apart), {}, 0
    for contig, length in lengths.items():
        walk |= {at + base: (contig, base) for base in range(length)}
        at += length + apart
        at += -at % apart
    assert len(line) == line.offsets[-1] == at

    places = np.array([line.place(GenomicRegion(contig, base, base + 1)) for contig, base in walk.values()])
    assert places.tolist() == list(walk)
    assert [line.locate(place) for place in places.tolist()] == list(walk.values())
    assert [line.names[i] for i in line.contigs(places)] == [contig for contig, _ in walk.values()]
    assert {contig: line.starts[contig] for contig in lengths} == {c: at for at, (c, base) in walk.items() if not base}
    assert all(start % apart == 0 for start in line.starts.values())

    drawn = data.draw(st.lists(st.sampled_from(sorted(walk)).flatmap(lambda first: st.tuples(
        st.just(first), st.integers(1, lengths[walk[first][0]] - walk[first][1]))), max_size=6))  # fmt: skip
    regions = [GenomicRegion(contig, base, base + n) for (contig, base), n in ((walk[at], n) for at, n in drawn)]
    expected = [[at, at + n] for at, n in drawn]
    table = pd.DataFrame([(r.contig, r.start, r.end) for r in regions], columns=["Chromosome", "Start", "End"])
    assert line.spans(regions).tolist() == line.rows(table).tolist() == expected
    assert [line.region(start, end) for start, end in expected] == regions


@given(LENGTHS, st.integers(1, 5))
def test_runs_are_split_by_contig(sizes, apart):
    line = GenomeLine({f"c{i}": size for i, size in enumerate(sizes)}, apart)
    bases = [(i, base) for i, size in enumerate(sizes) for base in range(size) if (i + base) % 2]
    runs = np.zeros(len(bases), [("start", np.int64), ("end", np.int64), ("value", np.float32)])
    runs["start"] = [line.starts[f"c{i}"] + base for i, base in bases]
    runs["end"], runs["value"] = runs["start"] + 1, [base for _, base in bases]
    expected = [(f"c{i}", [(b, b + 1, b) for _, b in some]) for i, some in groupby(bases, key=lambda one: one[0])]
    assert [(contig, part.tolist()) for contig, part in line.split(runs)] == expected


@given(LENGTHS, st.integers(1, 5))
def test_no_two_contigs_touch(sizes, apart):
    line = GenomeLine({f"c{i}": size for i, size in enumerate(sizes)}, apart)
    spans = line.spans(GenomicRegion(f"c{i}", 0, size) for i, size in enumerate(sizes))
    assert (spans[1:, 0] - spans[:-1, 1] >= apart).all()
    assert [line.locate(end) for end in spans[:, 1].tolist()] == [(f"c{i}", size) for i, size in enumerate(sizes)]
