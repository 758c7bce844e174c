"""From a file, or the rows that its index finds, to the annotated sites of a genome."""

import gzip
import logging
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pysam

from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.bed import bed_columns, bed_sites, own_names
from sae_tracks.annotations.bigbed import is_bigbed, read_bigbed
from sae_tracks.annotations.gtf import GFF_COLUMNS, gene_spans, gff_sites, transcripts
from sae_tracks.annotations.repeats import is_out, out_sites, rmsk_names, rmsk_sites, soft_mask
from sae_tracks.annotations.sgd import SGD_COLUMNS, is_sgd, sgd_sites
from sae_tracks.annotations.sites import (
    COLUMNS,
    Annotation,
    constant,
    intervals,
    joined,
    no_sites,
    only,
    series,
    strands,
)
from sae_tracks.annotations.text import Text, is_header, is_no_row, read_text
from sae_tracks.bounded import LONGEST_LINE, check_last_block, check_lines, is_bgzip
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import ContigLengths, Genome
from sae_tracks.names import counted
from sae_tracks.regions import GenomicRegion, unknown_contig

SOFT_MASK = "softmask"  # the annotation that is the FASTA's own lower case
FROM_ZERO = 1 << 16  # the flag of an index whose positions count from 0
log = logging.getLogger(__name__)


def read_annotation(
    path: str | Path,
    genome: ContigLengths,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    alias: str | Path | None = None,
    per_base: bool = True,
) -> Annotation:
    """Read an annotation of any format of ``docs/formats.md``, recognised by its content.

    Rows on contigs that the genome does not have are left out and counted in the log.

    Parameters
    ----------
    path : path
        A file (plain, gzip, bgzip or bigBed), or ``softmask`` for the lower case of the FASTA.
    regions : iterable of GenomicRegion, optional
        Sites that overlap none of these may be left out, because a bigBed, or a bgzip file with .tbi or .csi, is read
        by index. Sites that overlap them are the same as without.
    alias : str or path, optional
        Other names of contigs; see `Contigs`.
    per_base : bool
        False leaves out what is no use on a track: codon positions of single bases, and ``intergenic`` of gene files.

    Raises
    ------
    SaeTracksError
        A row is malformed (the line is named). The file has no row, is cut short, is of another assembly, or has no
        contig in common with the genome.
    """
    contigs = Contigs(genome, alias)
    wanted = None if regions is None else genome.merged(regions)
    if wanted == genome.whole:
        wanted = None
    if str(path) == SOFT_MASK:
        if not isinstance(genome, Genome):
            raise SaeTracksError("the soft-mask is in the FASTA: name it by --genome in place of --assembly")
        return Annotation(cast(pd.DataFrame, soft_mask(genome, wanted)[[*COLUMNS]]), f"{genome.path.name}'s soft-mask")
    path = Path(path)
    text = _text(path, contigs, wanted)
    sites = no_sites() if text.place and not text.rows else _sites(text, contigs, wanted, per_base=per_base)
    if not len(sites):
        return Annotation(no_sites(), path.name)
    return Annotation(_on_known_contigs(cast(pd.DataFrame, sites[[*COLUMNS]]), path.name, contigs), path.name)


def read_annotations(
    paths: Sequence[str | Path],
    genome: Genome,
    regions: Iterable[GenomicRegion] | None = None,
    *,
    alias: str | Path | None = None,
) -> Annotation:
    """Read several files as one annotation; see `read_annotation`."""
    regions = None if regions is None else list(regions)
    read = [read_annotation(path, genome, regions, alias=alias) for path in paths]
    sites, source = joined([one.sites for one in read]), ", ".join(one.source for one in read)
    return Annotation(sites, source, files=tuple(one.sites["Name"].cat.categories for one in read))


def read_transcripts(path: str | Path, genome: ContigLengths, *, alias: str | Path | None = None) -> Annotation | None:
    """Read the transcripts of a GTF or GFF3, from the first exon to the last; None for a file of another format.

    Transcripts at one place are one site. The rest is as `read_annotation` has it.
    """
    path, contigs = Path(path), Contigs(genome, alias)
    if str(path) == SOFT_MASK or not (text := _text(path, contigs, None)).is_gff:
        return None
    return Annotation(_on_known_contigs(transcripts(text.columns(), contigs), path.name, contigs), path.name)


def read_regions(path: str | Path, genome: Genome, *, skip_unknown: bool = False) -> list[GenomicRegion]:
    """Read the regions of a BED file or a relative, GTF or GFF3, in the order of the file.

    A malformed row is an error that names its line. So is a row on a contig that the genome does not have, unless
    `skip_unknown` leaves such rows out.
    """
    text = read_text(Path(path))
    rows = text.columns()
    columns, one_based = _interval_columns(text)
    found = intervals(rows, columns, Contigs(genome), one_based=one_based)
    unknown = ~found["Chromosome"].isin(genome.lengths).to_numpy()
    if not skip_unknown:
        contig = rows.columns[columns[0]]
        rows.refuse_any(unknown, lambda row: str(unknown_contig(contig[row].as_py(), genome.lengths, genome.path.name)))
    elif unknown.all():
        log.warning("no contig of %s is in %s: it leaves nothing out", Path(path).name, genome.path.name)
    return [GenomicRegion(*row) for row in found[~unknown].itertuples(index=False, name=None)]


def read_rows(path: str | Path, genome: ContigLengths, *, alias: str | Path | None = None) -> pd.DataFrame:
    """Read the intervals of BED or a relative (peaks, UCSC's tables, bigBed) as regions, each with its own name.

    Rows on contigs that the genome does not have are left out and counted in the log.

    Parameters
    ----------
    alias : str or path, optional
        Other names of contigs; see `Contigs`.

    Returns
    -------
    DataFrame
        In the order of the file: ``Chromosome``, ``Start``, ``End`` (0-based half-open), ``Name`` (column 4, also of
        peaks; "" for ``.`` and without such a column), ``Strand`` (+, - or .) and ``Row``, the number of the row in the
        file, from 0.

    Raises
    ------
    SaeTracksError
        As `read_annotation`; or the file is a table of genes, whose rows are their parts.
    """
    path, contigs = Path(path), Contigs(genome, alias)
    text = _text(path, contigs, None)
    if text.is_gff or is_sgd(text):
        raise SaeTracksError(f"{path.name} is a table of genes, whose rows are their parts: name a BED of regions")
    rows = text.columns()
    names = rmsk_names(text.names, text.first()) or text.names
    where = bed_columns(text.first(), names, text.plain.suffix)
    found = intervals(rows, (where.contig, where.start, where.end), contigs, one_based=where.one_based)
    strand = constant(".", len(rows)) if where.strand is None else strands(rows, where.strand)
    found = found.assign(Name=own_names(rows, where), Strand=strand, Row=np.arange(len(rows)))
    return _on_known_contigs(found, path.name, contigs)


def read_genes(path: str | Path, genome: ContigLengths, *, alias: str | Path | None = None) -> pd.DataFrame:
    """Read the genes of a GTF or GFF3, without those on contigs that the genome does not have; see `gene_spans`."""
    path, contigs = Path(path), Contigs(genome, alias)
    text = _text(path, contigs, None)
    if not text.is_gff:
        raise SaeTracksError(f"{path.name} is no GTF or GFF3: genes are read from these")
    return _on_known_contigs(gene_spans(text.columns(), contigs), path.name, contigs)


def _text(path: Path, contigs: Contigs, wanted: Sequence[GenomicRegion] | None) -> Text:
    """All of a file, or what its index gives for the regions wanted."""
    if is_bigbed(path):
        return read_bigbed(path, contigs, wanted)
    index = _index_of(path) if wanted is not None else None
    found = None if index is None or wanted is None else _fetched(path, index, contigs, wanted)
    return read_text(path) if found is None else found


def _sites(text: Text, contigs: Contigs, wanted: Sequence[GenomicRegion] | None, *, per_base: bool) -> pd.DataFrame:
    """The sites of a file, whose format is found by its content."""
    if is_out(text):
        return out_sites(text, contigs)
    rows = text.columns()
    if text.is_gff:
        return gff_sites(rows, contigs, wanted, per_base=per_base)
    if is_sgd(text):
        return sgd_sites(rows, contigs, wanted, per_base=per_base)
    if names := rmsk_names(text.names, text.first()):
        return rmsk_sites(rows, names, contigs)
    return bed_sites(rows, contigs)


def _interval_columns(text: Text) -> tuple[tuple[int, int, int], bool]:
    """The columns of contig, start and end that `_sites` reads, and whether positions count from 1."""
    if text.is_gff:
        return GFF_COLUMNS, True
    if is_sgd(text):
        return SGD_COLUMNS, True
    columns = bed_columns(text.first(), rmsk_names(text.names, text.first()) or text.names, text.plain.suffix)
    return (columns.contig, columns.start, columns.end), columns.one_based


def _index_of(path: Path) -> Path | None:
    """The .tbi or .csi beside a bgzip file, if there is one that is not older than the file."""
    beside = [index for end in (".tbi", ".csi") if (index := Path(f"{path}{end}")).is_file()]
    if not beside or not path.is_file():
        return None
    with path.open("rb") as file:
        if not is_bgzip(file.read(18)):
            return None
    if beside[0].stat().st_mtime_ns < path.stat().st_mtime_ns:
        log.info("%s is older than %s: the whole file is read (tabix -f makes a new index)", beside[0].name, path.name)
        return None
    return beside[0]


def _fetched(path: Path, index: Path, contigs: Contigs, regions: Sequence[GenomicRegion]) -> Text | None:
    """Read the header and the rows that overlap the regions, in the order of the file.

    The regions are disjoint and ascending within a contig. From a GTF, GFF3 or SGD's table all rows on their
    contigs are read, because a splice site depends on exons that may lie elsewhere. Returns None if the index cannot be
    used.
    """
    with path.open("rb") as file:
        file.seek(-min(28, path.stat().st_size), 2)
        check_last_block(path, file.read())
    try:
        header, first = _beginning(path)
        head = Text(path, b"\n".join([b"", *header]), example=first)
        columns, one_based = _interval_columns(head)
        if not _is_of_columns(index, columns, one_based):
            log.info("%s is of other columns than %s: the whole file is read", index.name, path.name)
            return None
        with pysam.TabixFile(str(path), index=str(index), encoding="utf-8") as file:
            contigs.check_common(file.contigs, path.name)
            by_start = None if head.is_gff or is_sgd(head) else (columns[1], int(one_based))
            lines = [line.rstrip("\r") for line in _rows(file, by_start, contigs, regions, path.name)]
    except SaeTracksError:  # a ValueError too, and says enough
        raise
    except (OSError, EOFError, zlib.error, ValueError, struct.error) as error:
        log.info("%s cannot be used (%s): the whole of %s is read", index.name, error, path.name)
        return None
    text = b"\n".join([b"", *header, *map(str.encode, lines)])
    return Text(path, text, place=lambda line: _place(path, line), example=first)


def _beginning(path: Path) -> tuple[list[bytes], bytes]:
    """The lines of a compressed file before its first row, and that row; empty if there is none."""
    header = []
    with gzip.open(path) as file:
        while line := file.readline(LONGEST_LINE + 1):
            check_lines(path, line)
            line = line.rstrip(b"\r\n")
            if not is_no_row(line) and not is_header(line):
                return header, line
            header.append(line)
    return header, b""


def _is_of_columns(index: Path, columns: tuple[int, int, int], one_based: bool) -> bool:
    """Whether a .tbi or .csi was made of these columns, and not with positions from 0 for a file that counts from 1."""
    with gzip.open(index) as file:
        data = file.read(32)
    start = 8 if data[:4] == b"TBI\1" else 16  # behind the magic, of a .csi also min_shift, depth and l_aux
    form, *found = struct.unpack_from("<4i", data, start)
    return found == [column + 1 for column in columns] and not (one_based and form & FROM_ZERO)


def _rows(
    file: pysam.TabixFile,
    by_start: tuple[int, int] | None,
    contigs: Contigs,
    regions: Sequence[GenomicRegion],
    name: str,
) -> Iterator[str]:
    """Each row that overlaps the regions, once; without `by_start` (column, first position) all of their contigs."""
    for theirs, ours in zip(file.contigs, contigs.translate(file.contigs, name), strict=True):
        here = [region for region in regions if region.contig == ours]
        if by_start is None:
            if here:
                yield from file.fetch(theirs)
            continue
        last = 0
        for region in here:
            for row in file.fetch(theirs, region.start, region.end):
                if not last or not _is_before(row, *by_start, last):
                    yield row
            last = region.end


def _is_before(row: str, column: int, first: int, position: int) -> bool:
    """Whether a row starts before a 0-based position, so that the previous region has given it already."""
    text = row.split("\t", column + 1)[column]
    return text.isdecimal() and int(text) - first < position


def _place(path: Path, line: bytes) -> str:
    """The number of a line, found by reading the whole file."""
    number = read_text(path).lines.split(b"\n").index(line)
    return f"line {number:,}"


def _on_known_contigs(sites: pd.DataFrame, source: str, contigs: Contigs) -> pd.DataFrame:
    """The rows on contigs of the genome. No such row is an error."""
    known = series(sites, "Chromosome").isin(contigs.lengths).to_numpy()
    if not known.any():
        contigs.check_common(list(sites["Chromosome"].cat.categories), source)
    if not known.all():
        unknown = sites.loc[~known, "Chromosome"].nunique()
        there = f"on {counted(unknown, 'contig')} that {contigs.genome} does not have"
        log.info("%s: %s left out", source, counted((~known).sum(), f"row {there} is", f"rows {there} are"))
        sites = only(sites, known).reset_index(drop=True)
        sites["Chromosome"] = sites["Chromosome"].cat.remove_unused_categories()
    return sites
