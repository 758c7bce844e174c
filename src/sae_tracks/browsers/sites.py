"""The annotations beside the tracks of a hub, as bigBed files, and the contigs that files of a hub must have."""

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from sae_tracks.annotations import read_annotation
from sae_tracks.annotations.alias import LENGTHS, YEAST
from sae_tracks.annotations.sites import Annotation
from sae_tracks.bbi import BIGBED, contig_lengths, open_bbi, read_header
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import TOP_SCORE, atomic
from sae_tracks.genome import ContigLengths
from sae_tracks.tracks.bbi.bigbed import write_bigbed
from sae_tracks.tracks.bbi.bigwig import finest_zoom
from sae_tracks.tracks.folder import list_intervals, shown

ASSEMBLIES = {"hg19": "GRCh37", "hg38": "GRCh38"}
FOLDER = "annotations"  # beside hub.txt
BIGBED_ENDINGS = (".bb", ".bigbed")
SQL = """table sites
"Annotated sites"
(
string chrom;      "Contig"
uint   chromStart; "First base, 0-based"
uint   chromEnd;   "Base after the last"
string name;       "Concept: matrix, exon, repeat class, ..."
uint   score;      "As in the annotation, whole and 0 to 1000"
char[1] strand;    "Strand of the site"
{})
"""
FACTOR = 'string TFName;     "Transcription factor"\n'


class Contigs:
    """The known contigs of a hub's genome: those of its .2bit, or UCSC's for hg19, hg38 and sacCer3.

    For any other genome, the files of the hub are compared with each other.
    """

    def __init__(self, genome: str, lengths: Mapping[str, int] | None = None) -> None:
        self._genome, self._whole = genome, lengths is not None
        if lengths is None:
            lengths = _lengths_at_ucsc(genome)
        self._known = {name: (size, genome) for name, size in lengths.items()}
        self._seen: dict[str, tuple[int, str]] = {}  # in the files so far

    def check(self, theirs: Mapping[str, int], file: str) -> None:
        """Raise an error if a file has a contig that the genome lacks, or has with another length.

        UCSC has more contigs of hg19 and hg38 than those known here. Their names begin with chr, too.
        """
        for contig, length in theirs.items():
            size, where = self._known.get(contig) or self._seen.setdefault(contig, (length, file))
            if self._whole and contig not in self._known:
                raise SaeTracksError(f"{file} is of another genome: {self._genome} has no contig {contig}")
            if size != length:
                raise SaeTracksError(
                    f"{file} is of another genome: {contig} has {length:,} bases, but {size:,} in {where}"
                )
        if self._known and not any(contig in self._known or contig.startswith("chr") for contig in theirs):
            names = f"{next(iter(theirs), 'none')}, not {next(iter(self._known))}"
            raise SaeTracksError(f"{file} has no chromosome of {self._genome}: its contigs are called {names}")


def _lengths_at_ucsc(assembly: str) -> dict[str, int]:
    """The chromosomes of an assembly by UCSC's names; none if they are not known here."""
    if assembly == "sacCer3":
        return {f"chr{'M' if name == 'Mito' else name}": size for name, size in YEAST.values()}
    return {f"chr{name}": size for (name, size), it in LENGTHS.items() if it == ASSEMBLIES.get(assembly)}


@dataclass(frozen=True, slots=True)
class Sites:
    """An annotation as a hub shows it."""

    path: Path  # bigBed
    name: str  # of the file that it comes from, without endings
    factors: bool  # it has the column ``TFName``

    @property
    def type(self) -> str:
        """UCSC's type line: ``bigBed 6 +``."""
        header = read_header(self.path, BIGBED)
        return f"bigBed {header.bed_columns}{' +' * (header.columns > header.bed_columns)}"


def write_sites(
    tracks: Path, genome: ContigLengths, contigs: Contigs, annotations: Sequence[Path], out: Path
) -> list[Sites]:
    """Write the annotations of a hub: the BED files (not empty) and bigBeds among its tracks, and those named.

    A bigBed in the hub's folder `out` stays where it is. Another one is copied to ``annotations/NAME.bb``. Any other
    file that `read_annotation` reads is converted to ``annotations/NAME.bb``.

    Raises
    ------
    SaeTracksError
        An annotation cannot be read or is of another genome, or two have one name.
    """
    own = list_intervals(tracks) + sorted(
        path for path in shown(tracks.iterdir()) if path.suffix.lower() in BIGBED_ENDINGS
    )
    given = {path.resolve(): path for path in (*own, *annotations)}
    found: list[Sites] = []
    for path in given.values():
        taken = {sites.name for sites in found}
        stem = path.name.removesuffix(".gz").rpartition(".")[0]
        name = path.name if not stem or stem in taken else stem  # f0.bed and, beside it, f0.bed.gz
        if name in taken:
            raise SaeTracksError(f"two annotations are called {name}: rename {path}")
        if path.suffix.lower() in BIGBED_ENDINGS:
            contigs.check(contig_lengths(path, BIGBED), path.name)
            found.append(_copied(path, name, genome, out))
        else:
            found.append(_converted(path, name, genome, out))
    return found


def _copied(path: Path, name: str, genome: ContigLengths, out: Path) -> Sites:
    """Return a bigBed of the hub's folder as it is, another one as a copy there."""
    lengths = contig_lengths(path, BIGBED)
    if not lengths.keys() & genome.lengths.keys():
        there, here = next(iter(lengths), "none"), next(iter(genome.lengths))
        raise SaeTracksError(f"no contig of {path.name} is in {genome.path.name}: they are called {there}, not {here}")
    with open_bbi(path, BIGBED) as file:
        factors = re.search(rb"\bTFName\s*;", file.SQL() or b"") is not None
    if path.resolve().is_relative_to(out.resolve()):
        return Sites(path, name, factors)
    target = out / FOLDER / f"{name}.bb"
    with atomic(target) as temporary:
        shutil.copyfile(path, temporary)
    return Sites(target, name, factors)


def _converted(path: Path, name: str, genome: ContigLengths, out: Path) -> Sites:
    annotation = read_annotation(path, genome, per_base=False)
    target = out / FOLDER / f"{name}.bb"
    factors = bool((annotation.sites["TF"] != "").any())
    share = min(len(annotation) / sum(genome.lengths.values()), 1.0)
    rows = _items(annotation, genome, factors=factors)
    write_bigbed(target, genome.lengths, rows, SQL.format(FACTOR * factors), finest_zoom(share))
    return Sites(target, name, factors)


def _items(annotation: Annotation, genome: ContigLengths, *, factors: bool) -> Iterator[tuple[str, int, int, str]]:
    """Yield contig, start, end and the other columns of every site, in the order of a bigBed."""
    sites = annotation.sites
    contig = cast(pd.Series, sites["Chromosome"]).astype(str)
    place = contig.map({name: i for i, name in enumerate(genome.lengths)}).to_numpy()
    score = np.rint(np.clip(np.nan_to_num(sites["Score"].to_numpy(float)), 0, TOP_SCORE)).astype(np.int64)
    ordered = sites.assign(Score=score).iloc[np.lexsort((sites["End"], sites["Start"], place))]
    names = ["Chromosome", "Start", "End", "Name", "Score", "Strand", "TF"]
    for contig, start, end, name, value, strand, factor in zip(*(ordered[column].tolist() for column in names)):
        yield contig, start, end, f"{name}\t{value}\t{strand}" + f"\t{factor}" * factors
