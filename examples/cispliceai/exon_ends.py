"""Does a feature at one end of an exon need the other end? All exons on + of a contig between an acceptor and a donor.

Prints the median activation of features at both ends: as it is, if the acceptor is spoiled (AG becomes AA), and if the
donor is (GT becomes AT). Then, where the first feature is highest within 15 bases of a spoiled acceptor.

    python exon_ends.py sae/ genome.fa.gz sites.bed chr9 93,31
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from sae_tracks import Genome, GenomicRegion, load_sae
from sae_tracks.dna import readable_bases
from sae_tracks.source import sae_language_model

CONTEXT, LONGEST = 1000, 300  # bases on either side of an exon, and of an exon
REACH = 15  # bases on either side of an acceptor


@torch.inference_mode()
def main(folder: str, fasta: str, bed: str, contig: str, features: str) -> None:
    genome, sae, ids = Genome(fasta), load_sae(folder), [int(one) for one in features.split(",")]
    lm = sae_language_model(sae)
    rows = [line.split("\t") for line in Path(bed).read_text().splitlines()]
    known = {(row[3], int(row[1])) for row in rows if row[0] == contig and row[5] == "+"}
    exons = {(int(row[1]), int(row[2])) for row in rows if row[0] == contig and row[5] == "+" and row[3] == "exon"}
    found, moved = [], Counter[str]()
    for start, end in sorted(exons):
        if ("acceptor", start) not in known or ("donor", end - 1) not in known or end - start > LONGEST:
            continue
        whole = genome.sequence(GenomicRegion(contig, start - CONTEXT, end + CONTEXT))
        length, copies = end - start, [whole]
        for place, letter in ((CONTEXT - 1, b"G"), (CONTEXT + length, b"G")):
            assert readable_bases(whole).all() and whole[place : place + 1] == letter
            copies.append(whole[:place] + b"A" + whole[place + 1 :])
        ends = [CONTEXT, CONTEXT + length - 1]
        values = [sae.encode(lm.activations(copy))[:, ids].numpy() for copy in copies]
        found.append([one[ends] for one in values])
        moved[place_of_highest(copies[1], values[1][:, 0])] += 1
    middle = np.median(np.array(found), axis=0)  # (copies, ends, features)
    sys.stdout.write(f"{len(found)} exons\tend\t" + "\t".join(f"f{one}" for one in ids) + "\n")
    for what, at in zip(("as it is", "acceptor spoiled", "donor spoiled"), middle):
        for end, values in zip(("acceptor", "donor"), at):
            sys.stdout.write(f"{what}\t{end}\t" + "\t".join(f"{value:.1f}" for value in values) + "\n")
    for where, n in moved.most_common():
        sys.stdout.write(f"{where}\t{n}\n")


def place_of_highest(sequence: bytes, values: np.ndarray) -> str:
    """Where a feature is highest near the first base of the exon: behind another AG, or not."""
    near = values[CONTEXT - REACH : CONTEXT + REACH + 1]
    at = CONTEXT - REACH + int(near.argmax())
    if not near.max() > 0:
        return "nowhere"
    if sequence[at - 2 : at] != b"AG":
        return "at a base without AG before it"
    return "behind an AG, one base on" if at == CONTEXT + 1 else "behind another AG"


if __name__ == "__main__":
    main(*sys.argv[1:])
