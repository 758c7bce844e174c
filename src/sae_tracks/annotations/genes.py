"""Concepts of genes, from exons, coding sequence and the spans of genes.

Every frame here has ``Chromosome``, ``Start``, ``End`` and ``Strand``. Frames of exons and coding sequence also have
``transcript``, the number of a transcript on one contig and strand. On a circular contig, a transcript that passes the
origin goes on behind the contig's length, so its order is that of its positions. `Landmarks.fit` brings sites back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.sites import constant, only, series
from sae_tracks.intervals import intersect, merge, subtract
from sae_tracks.regions import GenomicRegion

SPLICE = 2  # bases at each end of an intron
CODON = 3
PROMOTER = 200  # bases upstream of a TSS
_STRIDE = 1 << 36  # more than any contig has bases: spans of many contigs in one array never touch
_NO_END = 1 << 34  # length of a contig that the genome does not have


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The contigs on which sites lie: their lengths, and the names of those that are circular."""

    lengths: Mapping[str, int]
    circular: frozenset[str] = frozenset()

    def of(self, frame: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(n,) int64 and (n,) bool: length of each row's contig, and whether it is circular."""
        names = list(series(frame, "Chromosome").cat.categories)
        length = np.array([self.lengths.get(name, _NO_END) for name in names], np.int64)
        circular = np.array([name in self.circular for name in names], bool)
        return length[codes := _codes(frame)], circular[codes]

    def fit(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Clip rows at the ends of their contig; around the origin of a circular contig they become two rows.

        The column ``turned`` is the number of bases by which a row was moved.
        """
        length, circular = self.of(frame)
        turns = (0, 1, -1) if circular.any() else (0,)
        pieces = [_turned(frame, turn * length, length, (turn == 0) | circular) for turn in turns]
        return pieces[0] if len(turns) == 1 else pd.concat(pieces)


def _turned(frame: pd.DataFrame, by: NDArray, length: NDArray, among: NDArray[np.bool_]) -> pd.DataFrame:
    start, end = (np.clip(series(frame, name).to_numpy() + by, 0, length) for name in ("Start", "End"))
    return only(frame.assign(Start=start, End=end, turned=by), among & (start < end))


def numbered(name: NDArray[np.int64], frame: pd.DataFrame) -> NDArray[np.int64]:
    """(n,) int64: ``transcript``, the number of each row's name on its contig and strand."""
    for column in ("Chromosome", "Strand"):
        of = series(frame, column).cat
        name = name * len(of.categories) + of.codes.to_numpy(np.int64)
    return name


def behind_origin(parts: pd.DataFrame, landmarks: Landmarks) -> pd.DataFrame:
    """Rows of transcripts, in which those behind the origin of a circular contig go on behind its length.

    Such a transcript has a row that passes the end of the contig. Its rows in the first half lie behind the origin.
    """
    length, circular = landmarks.of(parts)
    if not circular.any():
        return parts
    passes = (parts.groupby("transcript")["End"].transform("max") > length) & circular
    shift = np.where(passes & (parts["End"] <= length) & (parts["Start"] < length // 2), length, 0)
    return parts.assign(Start=parts["Start"] + shift, End=parts["End"] + shift)


def introns(exons: pd.DataFrame) -> pd.DataFrame:
    """Gaps of 4 bases or more between consecutive exons, which come sorted by transcript and start."""
    end = exons.groupby("transcript")["End"].cummax().to_numpy()[:-1]
    start, transcript = exons["Start"].to_numpy()[1:], exons["transcript"].to_numpy()
    gap = (transcript[1:] == transcript[:-1]) & (start - end >= 2 * SPLICE)
    return only(cast(pd.DataFrame, exons[:-1]).assign(Start=end, End=start), gap)


def splice_sites(gaps: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The first and last 2 bases of introns, and the bases of exons beside them, by strand."""
    gaps = stranded(gaps)
    start, end = gaps["Start"], gaps["End"]
    left = gaps.assign(End=start + SPLICE), gaps.assign(Start=start - 1, End=start)
    right = gaps.assign(Start=end - SPLICE), gaps.assign(Start=end, End=end + 1)
    forward = _forward(gaps)
    donor, exon_end = (_either(one, other, forward) for one, other in zip(left, right))
    acceptor, exon_start = (_either(other, one, forward) for one, other in zip(left, right))
    return {"splice_donor": donor, "splice_acceptor": acceptor, "exon_end": exon_end, "exon_start": exon_start}


def untranslated(exons: pd.DataFrame, coding: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Exons of coding transcripts left of their first and right of their last coding base."""
    spans = coding.groupby("transcript").agg(first=("Start", "min"), last=("End", "max"))
    exons = exons.join(spans, on="transcript", how="inner")
    before = exons.assign(End=np.minimum(exons["End"], exons["first"]))
    after = exons.assign(Start=np.maximum(exons["Start"], exons["last"]))
    left, right = (only(part, series(part, "Start") < part["End"]) for part in (before, after))
    return left, right


def by_side(left: pd.DataFrame, right: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Untranslated regions by their side of the coding sequence, if the strand is known."""
    left, right = stranded(left), stranded(right)
    ahead, behind = _forward(left), _forward(right)
    return {
        "five_prime_UTR": pd.concat([only(left, ahead), only(right, ~behind)]),
        "three_prime_UTR": pd.concat([only(left, ~ahead), only(right, behind)]),
    }


def starts(exons: pd.DataFrame) -> pd.DataFrame:
    """The first transcribed base of every transcript whose strand is known."""
    return first_bases(transcripts(exons))


def first_bases(frame: pd.DataFrame) -> pd.DataFrame:
    """The first base of each row, in the direction of its strand; rows without a strand are left out."""
    frame = stranded(frame)
    start = np.where(_forward(frame), frame["Start"], frame["End"] - 1)
    return frame.assign(Start=start, End=start + 1)


def promoters(tss: pd.DataFrame, upstream: int = PROMOTER, downstream: int = 0) -> pd.DataFrame:
    """The bases upstream of each TSS, and some from the TSS on; some may lie beyond the contig."""
    start = np.where(_forward(tss), tss["Start"] - upstream, tss["End"] - downstream)
    return tss.assign(Start=start, End=start + upstream + downstream)


def intergenic(rows: pd.DataFrame, exons: pd.DataFrame, landmarks: Landmarks) -> pd.DataFrame:
    """The bases of contigs with a row that neither a row nor a transcript, introns included, covers. Strand ``.``"""
    site = ["Chromosome", "Start", "End"]
    spans = cast(pd.DataFrame, pd.concat([rows[site], transcripts(exons)[site]]))
    covered = landmarks.fit(spans)
    names = series(rows, "Chromosome").cat.categories
    known = [code for code in np.unique(_codes(covered)) if names[code] in landmarks.lengths]
    whole = np.array([[code * _STRIDE, code * _STRIDE + landmarks.lengths[names[code]]] for code in known], np.int64)
    gaps = subtract(whole.reshape(-1, 2), merge(_placed(covered, _codes(covered))))
    code, start = np.divmod(gaps[:, 0], _STRIDE)
    contig = pd.Categorical.from_codes(code, names)
    end = gaps[:, 1] - code * _STRIDE
    return pd.DataFrame({"Chromosome": contig, "Start": start, "End": end, "Strand": constant(".", len(gaps))})


def with_phases(coding: pd.DataFrame) -> pd.DataFrame:
    """Coding rows of transcripts in the order of translation, with ``before``, ``total`` and the phase of every row.

    ``before`` is the number of coding bases of the transcript before a row, ``total`` that of all its rows. A phase of
    -1 is not stated: it follows from ``before`` and the phase of the transcript's first row, 0 if that is not stated.
    Rows without a strand are left out.
    """
    coding = stranded(coding)
    place = np.where(_forward(coding), coding["Start"], -coding["End"])
    coding = coding.iloc[np.lexsort((place, coding["transcript"]))]
    length = coding["End"] - coding["Start"]
    of = coding.assign(length=length).groupby("transcript")
    before = of["length"].cumsum() - length
    first = of["phase"].transform("first").clip(lower=0)
    phase = np.where(coding["phase"] >= 0, coding["phase"], (first - before) % CODON)
    return coding.assign(phase=phase, first=first, before=before, total=of["length"].transform("sum"))


def first_codons(coding: pd.DataFrame) -> pd.DataFrame:
    """The first three coding bases of transcripts that begin with a whole codon; see `with_phases`."""
    whole = (coding["first"] == 0) & (coding["total"] >= CODON) & ~coding["open_start"]
    return _codons(only(coding, np.asarray(whole & (coding["before"] < CODON))), "before", at_start=True)


def last_codons(coding: pd.DataFrame) -> pd.DataFrame:
    """The last three coding bases of transcripts that end with a whole codon; see `with_phases`."""
    translated = coding["total"] - coding["first"]
    whole = (translated >= CODON) & (translated % CODON == 0) & ~coding["open_end"]
    coding = coding.assign(after=coding["total"] - coding["before"] - (coding["End"] - coding["Start"]))
    return _codons(only(coding, np.asarray(whole & (coding["after"] < CODON))), "after", at_start=False)


def _codons(rows: pd.DataFrame, skipped: str, *, at_start: bool) -> pd.DataFrame:
    """The bases of a codon in each row, of which other rows have the number in the column `skipped`."""
    bases = np.minimum(rows["End"] - rows["Start"], CODON - rows[skipped])
    left = _forward(rows) == at_start
    start = np.where(left, rows["Start"], rows["End"] - bases)
    return rows.assign(Start=start, End=start + bases)


def codon_positions(
    coding: pd.DataFrame, landmarks: Landmarks, regions: Sequence[GenomicRegion] | None
) -> pd.DataFrame:
    """Each base of the coding sequence in the regions, once per position in a codon: ``CDS:1``, ``CDS:2``, ``CDS:3``.

    Parameters
    ----------
    coding : DataFrame
        With ``phase``, the number of bases to skip, in the direction of the strand, to the first base of a codon.
    regions : sequence of GenomicRegion, optional
        Disjoint. None: all of the contigs.

    Notes
    -----
    The first bases of the codons of a row are those whose place modulo 3 is one number, the residue. Rows of one
    contig, strand and residue are merged before any base is written, so memory grows with the distinct bases only.
    """
    forward = _forward(coding)
    first = np.where(forward, coding["Start"] + coding["phase"], coding["End"] - 1 - coding["phase"])
    fitted = landmarks.fit(coding.assign(residue=first))
    residue = (series(fitted, "residue") + fitted["turned"]).to_numpy() % CODON
    group = (_codes(fitted) * 2 + _forward(fitted)) * CODON + residue
    spans = merge(_placed(fitted, group))
    names = series(coding, "Chromosome").cat.categories
    if regions is not None:
        spans = intersect(spans, _wanted(regions, list(names)))
    group = spans[:, 0] // _STRIDE
    start, length = spans[:, 0] - group * _STRIDE, spans[:, 1] - spans[:, 0]
    base = np.arange(length.sum()) + np.repeat(start - np.cumsum(length) + length, length)
    group = np.repeat(group.astype(np.int32), length)
    ahead = group // CODON % 2 == 1
    position = np.where(ahead, base - group % CODON, group % CODON - base) % CODON
    return pd.DataFrame({
        "Chromosome": pd.Categorical.from_codes(group // (2 * CODON), names),
        "Start": base,
        "End": base + 1,
        "Strand": pd.Categorical.from_codes(ahead.astype(np.int8), ["-", "+"]),
        "Name": pd.Categorical.from_codes(position.astype(np.int8), [f"CDS:{i + 1}" for i in range(CODON)]),
    })  # fmt: skip


def _wanted(regions: Sequence[GenomicRegion], names: Sequence[str]) -> NDArray[np.int64]:
    """(k, 2) int64: the regions in the space of every group of contig, strand and residue, ascending."""
    place = {name: i for i, name in enumerate(names)}
    here = [(place[region.contig], region.start, region.end) for region in regions if region.contig in place]
    code, start, end = np.array(here, np.int64).reshape(-1, 3).T
    groups = (code[:, None] * 2 * CODON + np.arange(2 * CODON)).ravel()
    spans = np.repeat(np.stack([start, end], axis=1), 2 * CODON, axis=0) + groups[:, None] * _STRIDE
    return spans[np.argsort(spans[:, 0])]


def _placed(frame: pd.DataFrame, group: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 2) int64: starts and ends, of each group in a space of its own."""
    return frame[["Start", "End"]].to_numpy(np.int64) + group[:, None] * _STRIDE


def transcripts(exons: pd.DataFrame) -> pd.DataFrame:
    """One row per transcript, from its first exon to its last."""
    whole = exons.groupby("transcript").agg(left=("Start", "min"), right=("End", "max"))
    first = exons.drop_duplicates("transcript").join(whole, on="transcript")
    return first.assign(Start=first["left"], End=first["right"])


def stranded(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows whose strand is known."""
    return only(frame, series(frame, "Strand") != ".")


def _forward(frame: pd.DataFrame) -> NDArray[np.bool_]:
    return (series(frame, "Strand") == "+").to_numpy()


def _either(one: pd.DataFrame, other: pd.DataFrame, which: NDArray[np.bool_]) -> pd.DataFrame:
    return pd.concat([only(one, which), only(other, ~which)])


def _codes(frame: pd.DataFrame) -> NDArray[np.int64]:
    return series(frame, "Chromosome").cat.codes.to_numpy(np.int64)
