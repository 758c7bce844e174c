"""VCF files to write, and what variants change by whole readings of both alleles."""

import numpy as np

from sae_tracks.dna import reverse_complement

HEAD = "##fileformat=VCFv4.2\n##source=drawn by a test\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
REACH = 15


def write_vcf(path, records, *, contigs=("c1",), head=HEAD, info="."):
    """Records are (contig, 1-based position, ref, alt)."""
    declared = "".join(f"##contig=<ID={name}>\n" for name in contigs)
    rows = "".join(f"{c}\t{p}\tid{i}\t{r}\t{a}\t.\tPASS\t{info}\n" for i, (c, p, r, a) in enumerate(records))
    path.write_text(head + declared + COLUMNS + rows)
    return path


def both_readings(dna, start, ref, alt, strand):
    """The two sequences as a model reads them, and where they differ: first base, bases of either alone."""
    assert dna[start : start + len(ref)] == ref
    one, other = dna.encode(), (dna[:start] + alt + dna[start + len(ref) :]).encode()
    if strand == "-":
        one, other = reverse_complement(one), reverse_complement(other)
    short = min(len(one), len(other))
    first = next((i for i in range(short) if one[i] != other[i]), short)
    rest = 0
    while rest < short - first and one[-1 - rest] == other[-1 - rest]:
        rest += 1
    return one, other, first, len(one) - first - rest, len(other) - first - rest


def compared(one, other, first, a, b, back=0):
    """Offsets of the compared bases on both sequences, by walking along them."""
    pairs = [(first - k, first - k) for k in range(back, 0, -1) if first - k >= 0]
    both = min(a, b)
    pairs += [(first + a - both + k, first + b - both + k) for k in range(both)]
    for k in range(REACH):
        r, s = first + a + k, first + b + k
        if r < len(one) and s < len(other):
            pairs.append((r, s))
    return [(r, s) for r, s in pairs if chr(one[r]) in "ACGT"]


def brute(lm, sae, dna, start, ref, alt, strand, back=0):
    """Dense (d_sae,) arrays: signed largest change, change at the variant, maxima on both alleles."""
    one, other, first, a, b = both_readings(dna, start, ref, alt, strand)
    x, y = (sae.encode(lm.activations(sequence)).numpy() for sequence in (one, other))
    pairs = compared(one, other, first, a, b, back)
    none = np.zeros((0, x.shape[1]), np.float32)
    old, new = (np.stack([v[p[i]] for p in pairs]) if pairs else none for i, v in enumerate((x, y)))
    difference = np.concatenate([np.zeros((1, x.shape[1]), np.float32), new - old])
    at = np.abs(difference).argmax(axis=0)
    focal = next((1 + i for i, (r, _) in enumerate(pairs) if r >= first), 0)
    both = min(a, b)
    ref_max = np.concatenate([old, x[first : first + a - both]]).max(axis=0, initial=0)
    alt_max = np.concatenate([new, y[first : first + b - both]]).max(axis=0, initial=0)
    change = difference[at, np.arange(len(at))]
    changed = (change != 0) | (ref_max != alt_max)  # the others are in no table
    return change, difference[focal], ref_max * changed, alt_max * changed, pairs
