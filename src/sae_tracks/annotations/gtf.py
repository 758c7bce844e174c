"""GTF and GFF3: the rows of genes, their transcripts and biotypes."""

import logging
import re
from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from sae_tracks.annotations import genes
from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.sites import constant, intervals, joined, no_sites, only, relabelled, series, strands
from sae_tracks.annotations.text import Rows, Text, pc
from sae_tracks.errors import SaeTracksError
from sae_tracks.regions import GenomicRegion

_UTR = ("UTR", "five_prime_UTR", "three_prime_UTR")
_CODING = ("CDS", "start_codon", "stop_codon")  # a GTF's CDS ends before the stop codon, a GFF3's after it
_KINDS = {name: name for name in ("exon", *_CODING, *_UTR)} | {
    "noncoding_exon": "exon",
    "five_prime_utr": "five_prime_UTR",
    "5UTR": "five_prime_UTR",
    "three_prime_utr": "three_prime_UTR",
    "3UTR": "three_prime_UTR",
}
_GENE = re.compile("(?:gene|gene_segment|transcript|RNA)$")  # gene, tRNA_gene, pseudogene, mRNA, lnc_RNA ...
_OF_CONCEPT = {  # biotypes of GTF and GFF3, and types of GFF3 rows, by concept
    "tRNA": "tRNA Mt_tRNA",
    "rRNA": "rRNA Mt_rRNA",
    "snRNA": "snRNA",
    "snoRNA": "snoRNA scaRNA",
    "ncRNA": """ncRNA lncRNA lnc_RNA lincRNA macro_lncRNA bidirectional_promoter_lncRNA 3prime_overlapping_ncRNA
        sense_intronic sense_overlapping antisense antisense_RNA miRNA pre_miRNA primary_transcript misc_RNA scRNA sRNA
        piRNA guide_RNA vault_RNA vaultRNA Y_RNA SRP_RNA RNase_P_RNA RNase_MRP_RNA telomerase_RNA ribozyme""",
}
_RNA = {biotype: concept for concept, biotypes in _OF_CONCEPT.items() for biotype in biotypes.split()}
GFF_COLUMNS = (0, 3, 4)  # contig, start, end
log = logging.getLogger(__name__)
_SITE = ["Chromosome", "Start", "End", "Strand"]
_VALUE = r"""(?:\s*=\s*|\s+)(?:"(?P<quoted>[^"]*)"|(?P<bare>[^";\s]+))"""
_TRANSCRIPT_ID = r"(?:^|;)\s*transcript_id" + _VALUE
_BIOTYPES = (r"(?:^|;)\s*transcript_(?:bio)?type" + _VALUE, r"(?:^|;)\s*(?:gene_biotype|gene_type|biotype)" + _VALUE)
_GENE_ID, _OWN_ID = (rf"(?:^|;)\s*{name}" + _VALUE for name in ("gene_id", "ID"))
_GENE_NAMES = [rf"(?:^|;)\s*{name}" + _VALUE for name in ("gene_name", "gene", "Name")]
_PARENT, _ID = r"(?:^|;)\s*Parent=(?P<id>[^;]*)", r"(?:^|;)\s*ID=(?P<id>[^;]*)"
_OPEN = {"open_start": "partial=true|cds_start_NF", "open_end": "partial=true|cds_end_NF"}  # NCBI's and Ensembl's words
_SEQUENCE = re.compile(rb"\n##sequence-region[ \t]+(\S+)[ \t]+1[ \t]+([0-9]+)[ \t]*(?=\n|\Z)")


def gff_sites(
    rows: Rows, contigs: Contigs, regions: Sequence[GenomicRegion] | None = None, *, per_base: bool = True
) -> pd.DataFrame:
    """Return the concepts of a GTF or GFF3 (``docs/formats.md``); what several transcripts share is one site.

    Parameters
    ----------
    regions : sequence of GenomicRegion, optional
        Codon positions outside these regions are left out.
    per_base : bool
        False leaves out codon positions and ``intergenic``.

    Raises
    ------
    SaeTracksError
        A row is malformed (the line is named), the file is of another assembly, or all of it has no exon, CDS or UTR.
    """
    if (read := _gene_rows(rows, contigs)) is None:
        return no_sites()
    rows, frame, landmarks = read
    parts, ids = _by_transcript(frame, rows)
    parts = genes.behind_origin(parts, landmarks)
    coding = genes.with_phases(_of(parts, "CDS"))
    concepts = _concepts(frame, parts, coding) | _rna(frame, parts, rows, ids)
    if per_base:
        concepts["intergenic"] = genes.intergenic(frame, _of(parts, "exon"), landmarks)
    found = {name: landmarks.fit(sites)[_SITE].drop_duplicates() for name, sites in concepts.items()}
    sites = [part.assign(Name=constant(name, len(part))) for name, part in found.items()]
    if per_base:
        stated = genes.stranded(_of(only(frame, series(frame, "phase") >= 0), "CDS"))
        sites.append(genes.codon_positions(pd.concat([stated, coding]), landmarks, regions))
    table = joined(sites)
    return table.assign(Score=np.nan, TF=constant("", len(table)))


def transcripts(rows: Rows, contigs: Contigs) -> pd.DataFrame:
    """Return the transcripts of a GTF or GFF3, from the first exon to the last; those at one place are one site.

    ``Name`` is the transcript's, the first one's of those at one place. Errors are those of `gff_sites`; it is another
    one if no exon names a transcript.
    """
    if (read := _gene_rows(rows, contigs)) is None:
        return no_sites()
    rows, frame, landmarks = read
    parts, ids = _by_transcript(frame, rows)
    exons = _of(genes.behind_origin(parts, landmarks), "exon").sort_values(["transcript", "Start"])
    if exons.empty:
        raise SaeTracksError(f"{rows.text.path.name}: no exon names its transcript; name a concept, such as CDS")
    whole = genes.transcripts(exons)
    names = ids.take(pa.array(whole["parent"].to_numpy())).to_numpy(zero_copy_only=False)
    found = landmarks.fit(whole.assign(Name=names)).drop_duplicates(_SITE)[[*_SITE, "Name"]]
    return found.astype({"Name": "category"}).assign(Score=np.nan, TF=constant("", len(found)))


def _gene_rows(rows: Rows, contigs: Contigs) -> tuple[Rows, pd.DataFrame, genes.Landmarks] | None:
    """The rows that are read, the same as a frame with their kind, and the contigs; None if no row is read."""
    _check(rows, contigs)
    types = rows.categories(2)
    kind = relabelled(types.codes, [_kind(name) for name in types.categories])
    if set(kind.categories) <= {"", "gene"} and not rows.text.place:  # by index, other rows may have these types
        first = ", ".join(list(types.categories)[:5])
        raise SaeTracksError(f"{rows.text.path.name} has no exon, CDS or UTR: its rows are of type {first}")
    read = np.asarray(kind != "", bool)
    if not read.any():
        return None
    landmarks = genes.Landmarks(contigs.lengths, _circular(rows, contigs))
    rows, kind = rows.only(read), kind[read]
    frame = intervals(rows, GFF_COLUMNS, contigs, one_based=True, circular=landmarks.circular)
    frame = frame.assign(kind=kind, Strand=strands(rows, 6, {"?": "."}), phase=_phases(rows, np.asarray(kind == "CDS")))
    return rows, frame, landmarks


def gene_spans(rows: Rows, contigs: Contigs) -> pd.DataFrame:
    """The genes of a GTF or GFF3, each from its first base to its last.

    A gene is all rows with one ``gene_id`` on one contig and strand. In a GFF3 without it, it is a row of type gene,
    ncRNA_gene, pseudogene ... with an ``ID``. On a circular contig it ends at the origin.

    Returns
    -------
    DataFrame
        In the order of the file: ``Chromosome``, ``Start``, ``End``, ``Name`` (the id), ``Strand``, ``Row`` (its first
        row in the file, from 0) and ``gene_name`` (``gene_name``, ``gene`` or ``Name`` of a row, else the id).

    Raises
    ------
    SaeTracksError
        A row is malformed (the line is named), the file is of another assembly, or no row names a gene.
    """
    _check(rows, contigs)
    types = rows.categories(2)
    gene = np.array([name.endswith("gene") for name in types.categories], bool)[types.codes]
    own = pc.replace_substring_regex(_value(rows.columns[8], _OWN_ID), "^gene[-:]", "")
    ids = _value(rows.columns[8], _GENE_ID)
    ids = pc.if_else(pc.and_(pc.equal(ids, ""), pa.array(gene)), own, ids)
    known = pc.not_equal(ids, "").to_numpy()
    if not known.any():
        raise SaeTracksError(
            f"{rows.text.path.name} names no gene: no row has a gene_id, and none is a gene with an ID"
        )
    circular, row, rows = _circular(rows, contigs), np.flatnonzero(known), rows.only(known)
    frame = intervals(rows, GFF_COLUMNS, contigs, one_based=True, circular=circular)
    lengths = genes.Landmarks(contigs.lengths).of(frame)[0]
    name, *others = (_value(rows.columns[8], pattern) for pattern in _GENE_NAMES)
    for other in others:
        name = pc.if_else(pc.equal(name, ""), other, name)
    name = pc.if_else(pc.equal(name, ""), pa.scalar(None, pa.string()), name)
    frame = frame.assign(
        End=np.minimum(frame["End"], lengths),
        Name=ids.filter(pa.array(known)).to_numpy(zero_copy_only=False),
        Strand=strands(rows, 6, {"?": "."}),
        Row=row,
        gene_name=name.to_numpy(zero_copy_only=False),
    )
    of = frame.groupby(["Name", "Chromosome", "Strand"], observed=True, sort=False)
    whole = of.agg(Start=("Start", "min"), End=("End", "max"), Row=("Row", "first"), gene_name=("gene_name", "first"))
    whole = whole.reset_index()
    whole["gene_name"] = whole["gene_name"].fillna(whole["Name"])
    return cast(pd.DataFrame, whole[["Chromosome", "Start", "End", "Name", "Strand", "Row", "gene_name"]])


def _check(rows: Rows, contigs: Contigs) -> None:
    if len(rows.columns) != 9:
        raise rows.text.refuse(0, f"{len(rows.columns)} columns; GTF and GFF3 have 9")
    _check_lengths(rows.text, contigs)


def _kind(name: str) -> str:
    """What a type of row is read as; empty for a type that is not read."""
    return _KINDS.get(name, "gene" if _GENE.search(name) else "")


def _of(frame: pd.DataFrame, *kinds: str) -> pd.DataFrame:
    return only(frame, series(frame, "kind").isin(kinds))


def _concepts(frame: pd.DataFrame, parts: pd.DataFrame, coding: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The concepts of rows and transcripts, of which some may lie beyond a contig and several may be one site.

    What a file may state or leave out (UTRs, codons) is derived per contig, because an index gives whole contigs and
    both ways of reading must agree.
    """
    exons = _of(parts, "exon").sort_values(["transcript", "Start"])
    gaps, tss = genes.introns(exons), genes.starts(exons)
    left, right = genes.untranslated(exons, _of(parts, *_CODING))
    sides = genes.by_side(left, right)
    utr, sided = _of(frame, *_UTR), _of(frame, *_UTR[1:])
    gff3 = only(coding, series(coding, "gff3"))
    codons = {"start_codon": genes.first_codons(coding), "stop_codon": genes.last_codons(gff3)}
    return {
        "exon": _of(frame, "exon"),
        "CDS": _of(frame, "CDS"),
        "UTR": _stated_or(pd.concat([left, right]), utr),
        **{name: pd.concat([_of(frame, name), _elsewhere(sides[name], sided)]) for name in _UTR[1:]},
        **{name: _stated_or(derived, _of(frame, name)) for name, derived in codons.items()},
        "intron": gaps,
        **genes.splice_sites(gaps),
        "TSS": tss,
        f"promoter:-{genes.PROMOTER}": genes.promoters(tss),
    }


def _stated_or(derived: pd.DataFrame, stated: pd.DataFrame) -> pd.DataFrame:
    """The rows that a file states, and on contigs without such a row what is derived."""
    return pd.concat([stated, _elsewhere(derived, stated)])


def _elsewhere(derived: pd.DataFrame, stated: pd.DataFrame) -> pd.DataFrame:
    return only(derived, ~series(derived, "Chromosome").isin(stated["Chromosome"].unique()))


def _phases(rows: Rows, coding: NDArray[np.bool_]) -> NDArray[np.int8]:
    """(n,) int8: the phase of coding rows, -1 if it is not stated; -1 for the other rows."""
    theirs = rows.categories(7)
    known = {".": -1, "0": 0, "1": 1, "2": 2}
    wrong = np.array([name not in known for name in theirs.categories], bool)[theirs.codes]
    rows.refuse_any(wrong & coding, lambda row: f"phase {theirs[row]!r} (column 8) is none of {' '.join(known)}")
    phases = np.array([known.get(name, -1) for name in theirs.categories], np.int8)[theirs.codes]
    return np.where(coding, phases, np.int8(-1))


def _by_transcript(frame: pd.DataFrame, rows: Rows) -> tuple[pd.DataFrame, pa.Array]:
    """The rows once per transcript or parent that they name, and the names.

    ``row`` is the row of `frame`, ``parent`` the number of the name and ``transcript`` that of the name on a contig and
    strand. ``gff3`` marks rows that name a parent; ``open_start`` and ``open_end``, coding rows of an incomplete end.
    """
    lists, gff3 = _transcript_ids(rows.columns[8])
    row, names = pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists)
    known = pc.not_equal(names, "").to_numpy(zero_copy_only=False)
    encoded = pc.dictionary_encode(names.filter(known))
    row, parent = row[known], encoded.indices.to_numpy().astype(np.int64)
    exons = (frame["kind"] == "exon").to_numpy()
    if lost := int(exons.sum() - exons[np.unique(row)].sum()):
        log.warning(
            "%s: %d of %d exons name no transcript (transcript_id or Parent), so no splice sites and TSS come of them",
            *(rows.text.path.name, lost, exons.sum()),
        )
    coding = (frame["kind"] == "CDS").to_numpy()
    ends = {name: _matches(rows, coding, words) for name, words in _OPEN.items()}
    of = frame.assign(row=np.arange(len(frame)), gff3=gff3, **ends).iloc[row].reset_index(drop=True)
    return of.assign(parent=parent, transcript=genes.numbered(parent, of)), encoded.dictionary


def _matches(rows: Rows, which: NDArray[np.bool_], pattern: str) -> NDArray[np.bool_]:
    """(n,) bool: which of some rows have attributes that match a pattern; False for the others."""
    found = np.zeros(len(rows), bool)
    attributes = rows.columns[8].filter(pa.array(which))
    found[which] = pc.match_substring_regex(attributes, pattern).to_numpy()
    return found


def _transcript_ids(attributes: pa.ChunkedArray) -> tuple[pa.ListArray, NDArray[np.bool_]]:
    """The transcripts of each row, and whether these are a GFF3's parents.

    Else they are its transcript_id, quoted or not, after a blank or ``=``.
    """
    parents = pc.struct_field(pc.extract_regex(attributes, _PARENT), "id")
    of_gff3 = pc.and_(pc.match_substring_regex(attributes, r"^\s*\w+="), pc.is_valid(parents))
    ids = pc.if_else(of_gff3, pc.replace_substring(parents, ",", "\t"), _value(attributes, _TRANSCRIPT_ID))
    return pc.split_pattern(ids.combine_chunks(), "\t"), of_gff3.to_numpy()


def _value(attributes: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    """The value of an attribute, quoted or not; empty if a row does not have it."""
    found = pc.extract_regex(attributes, pattern)
    quoted, bare = (pc.fill_null(pc.struct_field(found, name), "") for name in ("quoted", "bare"))
    return pc.binary_join_element_wise(quoted, bare, "")


def _rna(frame: pd.DataFrame, parts: pd.DataFrame, rows: Rows, ids: pa.Array) -> dict[str, pd.DataFrame]:
    """Exons of RNA genes by concept: of the biotype that an exon states, else of the biotype or type of a parent.

    A GFF3's row of such a type that no row names as its parent, such as a tRNA without exons, counts as an exon.
    """
    exon, gene = ((frame["kind"] == kind).to_numpy() for kind in ("exon", "gene"))
    types = rows.categories(2)
    of_type = np.array([_RNA.get(name.removesuffix("_gene"), "") for name in types.categories], object)[types.codes]
    biotype, stated = _biotypes(rows, exon | gene)
    concept = np.where(gene & (biotype == ""), of_type, biotype)
    frame = frame.assign(concept=concept, key=_key(frame, _codes_of_ids(rows, gene, ids)))
    named = _key(parts, parts["parent"].to_numpy())
    parents = only(frame, gene & (frame["key"] >= 0).to_numpy()).drop_duplicates("key").set_index("key")["concept"]
    unsaid = (exon & ~stated)[parts["row"].to_numpy()]
    children = only(parts, unsaid).assign(concept=parents.reindex(named[unsaid]).to_numpy())
    childless = gene & (of_type != "") & ~np.isin(frame["key"].to_numpy(), named)
    every = pd.concat([only(frame, exon & stated), children, only(frame, childless)])
    return {name: only(every, series(every, "concept") == name) for name in _OF_CONCEPT}


def _key(frame: pd.DataFrame, name: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) int64: the number of a name on the contig of its row; negative if the name is."""
    contigs = series(frame, "Chromosome").cat
    return name * len(contigs.categories) + np.where(name < 0, 0, contigs.codes)


def _codes_of_ids(rows: Rows, which: NDArray[np.bool_], ids: pa.Array) -> NDArray[np.int64]:
    """(n,) int64: the place of the ID of some rows among the names of parents; -1 for all others."""
    found = np.full(len(rows), -1)
    own = pc.struct_field(pc.extract_regex(rows.columns[8].filter(pa.array(which)), _ID), "id")
    found[which] = pc.fill_null(pc.index_in(own, value_set=ids, skip_nulls=True), -1).to_numpy()
    return found


def _biotypes(rows: Rows, which: NDArray[np.bool_]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """The concept of the biotype that some rows state, else an empty text; and whether they state one."""
    concept, stated = np.full(len(rows), "", object), np.zeros(len(rows), bool)
    attributes = rows.columns[8].filter(pa.array(which))
    of_transcript, of_gene = (_value(attributes, pattern) for pattern in _BIOTYPES)
    value = pc.if_else(pc.equal(of_transcript, ""), of_gene, of_transcript)
    encoded = pc.dictionary_encode(value).combine_chunks()
    words, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    concept[which] = np.array([_RNA.get(word, "") for word in words], object)[codes]
    stated[which] = np.array([word != "" for word in words], bool)[codes]
    return concept, stated


def _circular(rows: Rows, contigs: Contigs) -> frozenset[str]:
    """The contigs that a GFF3 marks as circular, in the row that describes the whole of one."""
    if b"Is_circular=true" not in rows.text.lines:
        return frozenset()
    marked = pc.match_substring_regex(rows.columns[8], r"(?:^|;)\s*Is_circular=true\s*(?:;|$)")
    names = set(rows.columns[0].filter(pc.and_(marked, pc.equal(rows.columns[3], "1"))).to_pylist())
    return frozenset(contigs.translate(sorted(names), rows.text.path.name))


def _check_lengths(text: Text, contigs: Contigs) -> None:
    """Compare the lengths that a GFF3 states (``##sequence-region chr1 1 248956422``) with the genome's."""
    for match in _SEQUENCE.finditer(text.lines):
        name, length = match[1].decode(errors="replace"), int(match[2])
        ours = contigs.translate([name], text.path.name)[0]
        contigs.check_length(ours, length, text.path.name)
