"""A small simulated genome with known annotations: background, diverged Alu copies, and planted motif sites.

The background is an order-5 Markov chain with human counts. Alu copies carry substitutions and a poly-A tail, and some
lack their 5' end, as after retrotransposition. Motif sites are drawn from JASPAR count matrices. Copies and sites lie
on both strands, do not overlap, and are all in the truth BED.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.controls.alu import ALU
from sae_tracks.dna import reverse_complement
from sae_tracks.files import atomic, bundled
from sae_tracks.motifs import read_motifs as read_matrices

BASES = np.frombuffer(b"ACGT", np.uint8)
ORDER = 5
GAP = 250  # bases of N at the start of the second contig, to show how N is treated
SPACING = 20  # least distance in bases between two planted elements


@dataclass(frozen=True, slots=True)
class DemoGenome:
    """Files of a demo genome."""

    fasta: Path  # contigs ``demo1`` (to train on) and ``demo2`` (to score)
    # BED6+1 of the planted elements in the columns of UCSC's JASPAR track: name is the matrix ID (or ``Alu``), the
    # seventh column the TF name
    truth: Path


def make_genome(folder: Path, lengths: dict[str, int], seed: int = 0) -> DemoGenome:
    """Simulate contigs of these lengths and write ``demo.fa`` and ``truth.bed``; a seed gives the same bytes again."""
    rng = np.random.default_rng(seed)
    made = DemoGenome(folder / "demo.fa", folder / "truth.bed")
    motifs = read_motifs(bundled("demo-genome") / "motifs.jaspar")
    rows = []
    with atomic(made.fasta) as temporary, temporary.open("wb") as fasta:
        for i, (contig, length) in enumerate(lengths.items()):
            sequence = background(length, rng)
            rows += [(contig, *row) for row in plant(sequence, motifs, rng)]
            if i == 1:
                sequence[:GAP] = ord("N")
            text = sequence.tobytes()
            fasta.write(b">%s\n" % contig.encode())
            fasta.writelines(text[start : start + 60] + b"\n" for start in range(0, length, 60))
    with atomic(made.truth) as temporary:
        temporary.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return made


def background(n: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw (n,) upper-case letters from an order-5 Markov chain with human counts of both strands."""
    table = pd.read_csv(bundled("demo-genome") / "background.tsv", sep="\t", index_col="context").to_numpy(float)
    cumulative = np.cumsum(table / table.sum(axis=1, keepdims=True), axis=1)[:, :3].tolist()
    draws = rng.random(n).tolist()
    states = len(cumulative)
    state, letters = int(rng.integers(states)), bytearray(n)
    for i, draw in enumerate(draws):
        first, second, third = cumulative[state]
        base = (draw >= first) + (draw >= second) + (draw >= third)
        letters[i] = b"ACGT"[base]
        state = (4 * state + base) % states
    return np.frombuffer(letters, np.uint8)


def plant(
    sequence: NDArray[np.uint8], motifs: dict[tuple[str, str], NDArray[np.float64]], rng: np.random.Generator
) -> list[tuple[int, int, str, int, str, str]]:
    """Write Alu copies (a tenth of the bases) and motif sites (one per motif and 5 kb) into a sequence, in place.

    Return rows of start, end, concept, score, strand and name: 0-based half-open, ascending, disjoint.
    """
    n = len(sequence)
    elements = [("Alu", "Alu", alu_copy(rng)) for _ in range(n // 10 // len(ALU))]
    for (matrix, name), probabilities in motifs.items():
        elements += [(matrix, name, draw_site(probabilities, rng)) for _ in range(n // 5000)]
    order = rng.permutation(len(elements))
    widths = np.array([len(elements[i][2]) for i in order])
    free = n - 2 * GAP - (widths + SPACING).sum()
    offsets = np.sort(rng.integers(0, free, len(order))) + np.cumsum(widths + SPACING) - widths + GAP
    rows = []
    for start, i in zip(offsets.tolist(), order):
        concept, name, letters = elements[i]
        strand = "+-"[rng.integers(2)]
        oriented = letters if strand == "+" else reverse_complement(letters)
        sequence[start : start + len(letters)] = np.frombuffer(oriented, np.uint8)
        rows.append((start, start + len(letters), concept, 1000, strand, name))
    return rows


def alu_copy(rng: np.random.Generator) -> bytes:
    """Draw an Alu copy: 4 to 16 % substitutions, a tail of 8 to 30 A; one in four copies lacks its 5' end."""
    letters = np.frombuffer(ALU, np.uint8).copy()
    changed = rng.random(len(letters)) < rng.uniform(0.04, 0.16)
    letters[changed] = rng.choice(BASES, changed.sum())
    cut = int(rng.integers(20, len(letters) // 2)) if rng.random() < 0.25 else 0
    return letters[cut:].tobytes() + b"A" * int(rng.integers(8, 31))


def draw_site(probabilities: NDArray[np.float64], rng: np.random.Generator) -> bytes:
    """Draw one site of a motif from its (w, 4) probabilities."""
    cumulative = np.cumsum(probabilities, axis=1)[:, :3]
    return BASES[(rng.random(len(probabilities))[:, None] >= cumulative).sum(axis=1)].tobytes()


def read_motifs(path: Path) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Read the count matrices of a file as {(matrix ID, TF name): (w, 4) probabilities}, columns A, C, G, T."""
    return {(m.matrix_id, m.tf): m.counts / m.counts.sum(axis=1, keepdims=True) for m in read_matrices(path)}
