"""GTF and GFF3: exons, coding sequence, untranslated regions, splice sites, transcription start sites."""

import logging
import re
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa

from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.sites import constant, intervals, joined, no_sites, only, series, strands
from sae_tracks.annotations.text import Rows, Text, pc
from sae_tracks.errors import SaeTracksError

_UTR = {
    "UTR": "UTR",
    "five_prime_UTR": "five_prime_UTR",
    "five_prime_utr": "five_prime_UTR",
    "5UTR": "five_prime_UTR",
    "three_prime_UTR": "three_prime_UTR",
    "three_prime_utr": "three_prime_UTR",
    "3UTR": "three_prime_UTR",
}
_CODING = ("CDS", "start_codon", "stop_codon")  # a GTF's CDS ends before the stop codon, a GFF3's after it
GFF_COLUMNS = (0, 3, 4)  # contig, start, end
log = logging.getLogger(__name__)
SPLICE = 2  # bases at each end of an intron
_TRANSCRIPT_ID = r"""(?:^|;)\s*transcript_id(?:\s*=\s*|\s+)(?:"(?P<quoted>[^"]*)"|(?P<bare>[^";\s]+))"""
_PARENT = r"(?:^|;)\s*Parent=(?P<id>[^;]*)"
_SEQUENCE = re.compile(rb"\n##sequence-region[ \t]+(\S+)[ \t]+1[ \t]+([0-9]+)[ \t]*(?=\n|\Z)")


def gff_sites(rows: Rows, contigs: Contigs) -> pd.DataFrame:
    """Return the concepts of a GTF or GFF3; an interval that several transcripts share is one site.

    ``exon``, ``CDS``, ``five_prime_UTR`` and ``three_prime_UTR`` are the file's rows of these types. ``UTR`` is all UTR
    rows of a contig. If a contig has none, it is the exons of coding transcripts without the stretch from the first to
    the last coding base. ``splice_donor`` and ``splice_acceptor`` are the first and last 2 bases of the introns, which
    lie between the exons of a transcript and have 4 bases or more. ``TSS`` is the first base of a transcript's exons.

    Raises
    ------
    SaeTracksError
        A row is malformed (the line is named), the file is of another assembly, or all of it has none of these types.
    """
    if len(rows.columns) != 9:
        raise rows.text.refuse(0, f"{len(rows.columns)} columns; GTF and GFF3 have 9")
    _check_lengths(rows.text, contigs)
    kind = rows.categories(2)
    kept = kind.isin(np.array(["exon", *_CODING, *_UTR], object))
    if not kept.any() and rows.text.place:  # the other rows of the file may have these types
        return no_sites()
    if not kept.any():
        types = ", ".join(list(kind.categories)[:5])
        raise SaeTracksError(f"{rows.text.path.name} has no exon, CDS or UTR: its rows are of type {types}")
    rows = rows.only(kept)
    frame = intervals(rows, GFF_COLUMNS, contigs, one_based=True)
    frame = frame.assign(kind=rows.categories(2), Strand=strands(rows, 6, {"?": "."}))
    by_transcript = _by_transcript(frame, rows)
    kind, of = series(frame, "kind"), series(by_transcript, "kind")
    exons = only(by_transcript, of == "exon").sort_values(["transcript", "Start"])
    stated = only(frame, kind.isin(_UTR))
    derived = _untranslated(exons, only(by_transcript, of.isin(_CODING)))
    # per contig, because an index gives whole contigs and both ways of reading must agree
    derived = only(derived, ~series(derived, "Chromosome").isin(stated["Chromosome"]))
    which = series(stated, "kind").map(_UTR)
    parts = {
        "exon": only(frame, kind == "exon"),
        "CDS": only(frame, kind == "CDS"),
        "UTR": pd.concat([stated, derived]),
        "five_prime_UTR": only(stated, which == "five_prime_UTR"),
        "three_prime_UTR": only(stated, which == "three_prime_UTR"),
        **_splice_sites(exons),
        "TSS": _starts(exons),
    }
    columns = ["Chromosome", "Start", "End", "Strand"]
    unique = {name: part[columns].drop_duplicates() for name, part in parts.items()}
    sites = joined([part.assign(Name=constant(name, len(part))) for name, part in unique.items()])
    return sites.assign(Score=np.nan, TF=constant("", len(sites)))


def _by_transcript(frame: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """The rows of transcripts: once per transcript, with the number of the transcript (on a contig and strand)."""
    lists = _transcript_ids(rows.columns[8])
    row, names = pc.list_parent_indices(lists).to_numpy(), pc.list_flatten(lists)
    known = pc.not_equal(names, "").to_numpy(zero_copy_only=False)
    row, code = row[known], pc.dictionary_encode(names.filter(known)).indices.to_numpy().astype(np.int64)
    exons = (frame["kind"] == "exon").to_numpy()
    if lost := int(exons.sum() - exons[np.unique(row)].sum()):
        log.warning(
            "%s: %d of %d exons name no transcript (transcript_id or Parent), so no splice sites and TSS come of them",
            *(rows.text.path.name, lost, exons.sum()),
        )
    of = frame.iloc[row].reset_index(drop=True)
    for column in ("Chromosome", "Strand"):
        code = code * len(of[column].cat.categories) + of[column].cat.codes.to_numpy(np.int64)
    return of.assign(transcript=code)


def _transcript_ids(attributes: pa.ChunkedArray) -> pa.ListArray:
    """The transcripts of each row: a GFF3's parents, else its transcript_id, quoted or not, after a blank or ``=``."""
    parents = pc.struct_field(pc.extract_regex(attributes, _PARENT), "id")
    found = pc.extract_regex(attributes, _TRANSCRIPT_ID)
    quoted, bare = (pc.fill_null(pc.struct_field(found, name), "") for name in ("quoted", "bare"))
    of_gff3 = pc.and_(pc.match_substring_regex(attributes, r"^\s*\w+="), pc.is_valid(parents))
    ids = pc.if_else(of_gff3, pc.replace_substring(parents, ",", "\t"), pc.binary_join_element_wise(quoted, bare, ""))
    return pc.split_pattern(ids.combine_chunks(), "\t")


def _untranslated(exons: pd.DataFrame, coding: pd.DataFrame) -> pd.DataFrame:
    """Exons of coding transcripts less what lies from the first to the last coding base."""
    spans = coding.groupby("transcript").agg(first=("Start", "min"), last=("End", "max"))
    exons = exons.join(spans, on="transcript", how="inner")
    before = exons.assign(End=np.minimum(exons["End"], exons["first"]))
    after = exons.assign(Start=np.maximum(exons["Start"], exons["last"]))
    parts = pd.concat([before, after])
    return only(parts, series(parts, "Start") < parts["End"])


def _splice_sites(exons: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Donors and acceptors between consecutive exons, which come sorted by transcript and start."""
    end, start = exons["End"].to_numpy()[:-1], exons["Start"].to_numpy()[1:]
    transcript, strand = exons["transcript"].to_numpy(), exons["Strand"].to_numpy(object)[:-1]
    intron = (transcript[1:] == transcript[:-1]) & (start - end >= 2 * SPLICE) & (strand != ".")
    before = cast(pd.DataFrame, exons[:-1])
    left = only(before.assign(Start=end, End=end + SPLICE), intron)
    right = only(before.assign(Start=start - SPLICE, End=start), intron)
    forward = (strand == "+")[intron]
    return {
        "splice_donor": pd.concat([only(left, forward), only(right, ~forward)]),
        "splice_acceptor": pd.concat([only(right, forward), only(left, ~forward)]),
    }


def _starts(exons: pd.DataFrame) -> pd.DataFrame:
    """The first transcribed base of every transcript whose strand is known."""
    whole = exons.groupby("transcript").agg(left=("Start", "min"), right=("End", "max"))
    first = exons.drop_duplicates("transcript").join(whole, on="transcript")
    start = np.where(first["Strand"] == "+", first["left"], first["right"] - 1)
    return only(first.assign(Start=start, End=start + 1), series(first, "Strand") != ".")


def _check_lengths(text: Text, contigs: Contigs) -> None:
    """Compare the lengths that a GFF3 states (``##sequence-region chr1 1 248956422``) with the genome's."""
    for match in _SEQUENCE.finditer(text.lines):
        name, length = match[1].decode(errors="replace"), int(match[2])
        ours = contigs.translate([name], text.path.name)[0]
        contigs.check_length(ours, length, text.path.name)
