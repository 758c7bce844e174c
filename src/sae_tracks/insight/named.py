"""What features respond to, as a result: the table, the motifs, the places, and the files that hold them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.files import TOP_SCORE, atomic, make_folder, text_output, write_provenance, write_tsv
from sae_tracks.genome_line import GenomeLine
from sae_tracks.metrics import Halves
from sae_tracks.motifs import Motif
from sae_tracks.names import MOTIFS, feature_name, feature_number
from sae_tracks.regions import ReadStrand

TABLE, BED, PARQUET = "motifs.tsv", "places.bed", "motifs.parquet"
SITE = np.dtype([("line", np.int64), ("strand", np.int8), ("value", np.float32), ("half", np.int8), ("first", np.int8),
                 ("bases", np.int8), ("turned", np.bool_)])  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMotifs:
    """What features respond to.

    Attributes
    ----------
    table : DataFrame
        One row per feature, ascending; docs/formats.md has its columns.
    motifs : list of Motif
        The motifs, called ``f357``, with the counts of A, C, G and T at their sites on the select half, along the
        direction of reading.
    places : dict
        The strongest places of each feature, by its id, as records: ``line`` (position on `line`), ``strand`` (number
        of the read strand), ``value``, ``half``, and the site of the motif: ``first``, its distance from the place,
        ``bases``, 0 if there is none, and ``turned``.
    background : (4,) float64
        Frequencies of A, C, G and T against which information is measured: those of the select half, of both strands.
    """

    table: pd.DataFrame
    motifs: list[Motif]
    places: dict[int, NDArray]
    background: NDArray[np.float64]
    facts: dict[str, Any] = field(repr=False)
    read_strands: Sequence[ReadStrand] = field(repr=False)
    line: GenomeLine = field(repr=False)
    halves: Halves = field(repr=False)

    def write(self, out: str | Path) -> None:
        """Write motifs.meme, motifs.tsv, motifs.parquet, places.bed and provenance.json into a folder."""
        folder = make_folder(Path(out))
        with atomic(folder / MOTIFS) as temporary:
            temporary.write_text(self.meme())
        write_tsv(self.table, folder / TABLE)
        with atomic(folder / PARQUET) as temporary:
            self.table.to_parquet(temporary, index=False)
        with text_output(folder / BED, max(self.line.lengths.values())) as write:
            for row in self._bed():
                write(row)
        write_provenance(folder, **self.facts)

    def meme(self) -> str:
        """The motifs in MEME's minimal format."""
        frequencies = " ".join(f"{letter} {p:.5f}" for letter, p in zip(NUCLEOTIDES, self.background))
        parts = [f"MEME version 4\n\nALPHABET= {NUCLEOTIDES}\n\nstrands: + -\n\n"]
        parts.append(f"Background letter frequencies\n{frequencies}\n")
        for motif in self.motifs:
            sites = motif.counts.sum(axis=1)
            head = f"letter-probability matrix: alength= 4 w= {motif.width} nsites= {int(sites.max())} E= 0"
            rows = "".join("".join(f" {p:.6f}" for p in row) + "\n" for row in motif.counts / sites[:, None])
            parts.append(f"\nMOTIF {motif.matrix_id} {motif.tf}\n{head}\n{rows}")
        return "".join(parts)

    def _bed(self) -> Iterator[str]:
        """The places as BED rows, by contig, start, end and feature."""
        with_motif = {feature_number(motif.matrix_id) for motif in self.motifs}
        each = np.repeat(np.array([*self.places], np.int64), [len(some) for some in self.places.values()])
        rows = np.concatenate([np.empty(0, SITE), *self.places.values()])
        sited = (rows["bases"] > 0) & np.isin(each, [*with_motif])
        start = rows["line"] + np.where(sited, rows["first"], 0)
        end = start + np.where(sited, rows["bases"], 1)
        backwards = np.array([strand == "-" for strand in self.read_strands])[rows["strand"]]
        minus = backwards ^ (sited & rows["turned"])
        number, names, starts = self.line.contigs(rows["line"]), self.line.names, self.line.starts
        highest = {feature: float(some["value"].max(initial=0)) for feature, some in self.places.items()}
        for i in np.lexsort((each, end, start)).tolist():
            name, feature, value = names[number[i]], int(each[i]), float(rows["value"][i])
            first, last, peak = (int(column[i]) - starts[name] for column in (start, end, rows["line"]))
            first, last = max(first, 0), min(last, self.line.lengths[name])  # a site may reach past a contig's end
            score, half = round(TOP_SCORE * value / highest[feature]), self.halves.names[rows["half"][i]]
            fields = name, first, last, feature_name(feature), score, "+-"[int(minus[i])], f"{value:.6g}", peak, half
            yield "\t".join(map(str, fields)) + "\n"
