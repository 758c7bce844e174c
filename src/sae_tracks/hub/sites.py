"""The annotation beside the tracks: as bigBed, which is what UCSC reads from a server."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sae_tracks.annotations import read_annotation
from sae_tracks.annotations.sites import Annotation
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.tracks.bigbed import BIGBED, write_bigbed
from sae_tracks.tracks.bigwig import finest_zoom
from sae_tracks.tracks.folder import contig_lengths, list_intervals

FOLDER = "annotations"  # beside hub.txt
BIGBED_ENDINGS = (".bb", ".bigbed")
FIELDS = struct.Struct("<HH")  # columns of a bigBed, and how many of them are BED's
FIELDS_OFFSET = 32
TOP_SCORE = 1000
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


class TrackContigs(Genome):
    """The contigs that a bigWig's header names, in place of a FASTA's: what an annotation is read against.

    Parameters
    ----------
    path : Path
        The bigWig.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lengths = contig_lengths(path)


@dataclass(frozen=True, slots=True)
class Sites:
    """An annotation as a hub shows it.

    Attributes
    ----------
    path : Path
        bigBed.
    name : str
        Of the file that it comes from, without endings.
    factors : bool
        Whether it has the column ``TFName``.
    """

    path: Path
    name: str
    factors: bool

    @property
    def type(self) -> str:
        """UCSC's type line: ``bigBed 6 +``."""
        columns, plain = bigbed_fields(self.path)
        return f"bigBed {plain}{' +' * (columns > plain)}"


def bigbed_fields(path: Path) -> tuple[int, int]:
    """Columns of a bigBed, and how many of them are BED's own.

    Raises
    ------
    SaeTracksError
        The file is not a (little-endian) bigBed.
    """
    with path.open("rb") as file:
        head = file.read(FIELDS_OFFSET + FIELDS.size)
    if len(head) < FIELDS_OFFSET + FIELDS.size or struct.unpack_from("<I", head)[0] != BIGBED:
        raise SaeTracksError(f"{path} is not a (little-endian) bigBed, or it is cut short")
    columns, plain = FIELDS.unpack_from(head, FIELDS_OFFSET)
    return columns, plain


def write_sites(tracks: Path, bigwig: Path, annotations: Sequence[Path], out: Path) -> list[Sites]:
    """The annotations of a hub: those of the folder of its tracks, and those named.

    A bigBed stays where it is. Anything else that `read_annotation` reads becomes ``annotations/NAME.bb``.

    Parameters
    ----------
    tracks : Path
        Folder; its BED files (not empty) and bigBeds are shown.
    bigwig : Path
        One of the tracks: it says which contigs there are.
    annotations : sequence of Path
        More.
    out : Path
        Folder of the hub.

    Raises
    ------
    SaeTracksError
        An annotation cannot be read, or two have one name.
    """
    own = [path for path in list_intervals(tracks) if path.stat().st_size]
    own += sorted(path for path in tracks.iterdir() if path.suffix.lower() in BIGBED_ENDINGS)
    given = {path.resolve(): path for path in (*own, *annotations)}
    contigs, found = TrackContigs(bigwig), []
    for path in given.values():
        taken = {sites.name for sites in found}
        stem = path.name.removesuffix(".gz").rpartition(".")[0]
        name = path.name if not stem or stem in taken else stem  # f0.bed and, beside it, f0.bed.gz
        if name in taken:
            raise SaeTracksError(f"two annotations are called {name}: rename {path}")
        if path.suffix.lower() in BIGBED_ENDINGS:
            found.append(Sites(path, name, factors=False))
        else:
            found.append(_converted(path, name, contigs, out))
    return found


def _converted(path: Path, name: str, contigs: Genome, out: Path) -> Sites:
    annotation = read_annotation(path, contigs)
    target = out / FOLDER / f"{name}.bb"
    factors = bool((annotation.sites["TF"] != "").any())
    share = min(len(annotation) / sum(contigs.lengths.values()), 1.0)
    rows = _items(annotation, contigs, factors=factors)
    write_bigbed(target, contigs.lengths, rows, SQL.format(FACTOR * factors), finest_zoom(share))
    return Sites(target, name, factors)


def _items(annotation: Annotation, contigs: Genome, *, factors: bool) -> Iterator[tuple[str, int, int, str]]:
    """Contig, start, end and the other columns of every site, in the order of a bigBed."""
    sites = annotation.sites
    place = sites["Chromosome"].astype(str).map({name: i for i, name in enumerate(contigs.lengths)}).to_numpy()
    score = np.rint(np.clip(np.nan_to_num(sites["Score"].to_numpy(float)), 0, TOP_SCORE)).astype(np.int64)
    order = np.lexsort((sites["End"], sites["Start"], place))
    columns = [sites[name].to_numpy()[order].tolist() for name in ("Chromosome", "Start", "End", "Name")]
    strand, factor = (sites[name].to_numpy()[order].tolist() for name in ("Strand", "TF"))
    for contig, start, end, name, value, side, tf in zip(*columns, score[order].tolist(), strand, factor):
        yield contig, start, end, f"{name}\t{value}\t{side}" + f"\t{tf}" * factors
