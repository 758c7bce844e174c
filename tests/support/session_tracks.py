"""Tracks for sessions that real browsers open, and what must be seen in a picture of them."""

import numpy as np
from PIL import Image
from toy import random_dna, write_fasta

from sae_tracks.browsers.igv import write_sessions
from sae_tracks.tracks.bbi.bigwig import write_bigwig
from sae_tracks.tracks.bbi.runs import make_runs

BASES, AT = 50_000, 30_000  # of chr1, and where the tracks are high
BLUE, ORANGE = (0, 114, 178), (213, 94, 0)  # of the first and the second feature


def write_folder(folder):
    """Sessions over f1, 4 on one base, and f2, 2 and 1 on 400 bases in its two read strands, around `AT`; and sites."""
    tracks = folder / "my tracks #1"  # letters that an address has to encode
    tracks.mkdir()
    lengths = {"chr1": BASES, "chr2": 300}
    write_fasta(folder / "toy.fa", chr1=random_dna(BASES), chr2=random_dna(300))
    for name, start, end, value in (("f1", 0, 1, 4), ("f2.plus", -200, 200, 2), ("f2.minus", -200, 200, 1)):
        edges = np.array([0, AT + start, AT + end, BASES])
        runs = make_runs(edges[:-1], edges[1:], np.float32([0, value, 0]))
        write_bigwig(tracks / f"{name}.bw", lengths, [("chr1", runs)], 64)
    (tracks / "sites.bed").write_text(f"chr1\t{AT - 6}\t{AT + 1}\tMA0.1\t900\t+\n")
    return write_sessions(tracks, str(folder / "toy.fa"))


def heights(picture):
    """Pixels from bottom to top of the highest bar of f1, f2.plus and f2.minus, in a picture (PNG)."""
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    blue, orange = ((pixels == colour).all(axis=2) for colour in (BLUE, ORANGE))
    found = [_runs(blue[:, blue.sum(axis=0).argmax()]), _runs(orange[:, orange.sum(axis=0).argmax()])]
    return [length for runs in found for length in runs]


def _runs(column):
    edges = np.flatnonzero(np.diff(np.concatenate(([0], column.astype(int), [0])))).reshape(-1, 2)
    return [int(end - start) for start, end in edges if end - start > 2]


def assert_on_one_scale(picture):
    """4, 2 and 1 are drawn in these proportions: all on one scale, and one base among many at its full height."""
    first, second, third = heights(picture)
    assert first > 30
    assert abs(second - first / 2) <= 2 and abs(third - first / 4) <= 2
