"""Repeats: RepeatMasker's .out, UCSC's rmsk table, the lower case of a FASTA."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from sae_tracks.annotations.alias import Contigs
from sae_tracks.annotations.bed import bed_columns
from sae_tracks.annotations.sites import constant, intervals, joined, only, relabelled, strands
from sae_tracks.annotations.text import Rows, Text
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion

RMSK = [
    *("bin", "swscore", "millidiv", "millidel", "milliins", "genoname", "genostart", "genoend", "genoleft", "strand"),
    *("repname", "repclass", "repfamily", "repstart", "repend", "repleft", "id"),
]
_HEADING = re.compile(rb"\n(?=[ \t]*(?:SW[ \t]|score[ \t]|There were no repetitive))")
_OUT_FIELDS = 11  # up to class/family; what follows differs between versions


def is_out(text: Text) -> bool:
    """Whether a file is RepeatMasker's .out: by its heading, or by blanks between fields and a strand of + or C."""
    line = next((line for line in text.lines[:4096].split(b"\n") if line.strip()), b"")
    fields = line.split()
    return bool(_HEADING.match(b"\n" + line)) or (b"\t" not in line and len(fields) >= 14 and fields[8] in (b"+", b"C"))


def out_sites(text: Text, contigs: Contigs) -> pd.DataFrame:
    """The repeats of a RepeatMasker .out, whose positions count from 1.

    Each is a site of its class (``SINE``) and, if it has a family, of both (``SINE/Alu``); C is strand ``-``, and
    the score is Smith-Waterman's.
    """
    lines = _HEADING.sub(b"\n#", text.lines).split(b"\n")
    tabbed = [b"\t".join(line.split()[:_OUT_FIELDS]) if line[:1] != b"#" else line for line in lines]
    rows = Text(text.path, b"\n".join(tabbed)).columns()
    if len(rows.columns) < _OUT_FIELDS:
        raise rows.text.refuse(0, f"{len(rows.columns)} columns; a RepeatMasker .out has 14 or 15")
    found = intervals(rows, (4, 5, 6), contigs, one_based=True)
    return _by_class(found, rows.categories(10), strands(rows, 8, {"C": "-"}), rows.numbers(0))


def rmsk_names(names: Sequence[str], first: Sequence[str]) -> list[str]:
    """The columns of UCSC's rmsk table, with or without ``bin`` and names; empty for another table."""
    if "repclass" in names and len(names) == len(first):
        return list(names)
    for candidate in (RMSK, RMSK[1:]):
        row = dict(zip(candidate, first))
        if len(first) == len(candidate) and row["strand"] in ("+", "-") and re.fullmatch("-?[0-9]+", row["genoleft"]):
            return candidate
    return []


def rmsk_sites(rows: Rows, names: Sequence[str], contigs: Contigs) -> pd.DataFrame:
    """The repeats of an rmsk table, in which positions are 0-based half-open; see `out_sites`."""
    layout = bed_columns(rows.text.first(), names)
    found = intervals(rows, (layout.contig, layout.start, layout.end), contigs)
    strand = strands(rows, names.index("strand"), {"C": "-"}) if "strand" in names else constant(".", len(rows))
    score = rows.numbers(names.index("swscore")) if "swscore" in names else np.full(len(rows), np.nan)
    kind = rows.categories(names.index("repclass"))
    if "repfamily" in names:
        family = rows.categories(names.index("repfamily"))
        pairs = [f"{c}/{f}" for c in kind.categories for f in family.categories]
        kind = relabelled(kind.codes.astype(np.int64) * len(family.categories) + family.codes, pairs)
    return _by_class(found, kind.remove_unused_categories(), strand, score)


def soft_mask(genome: Genome, regions: Sequence[GenomicRegion] | None) -> pd.DataFrame:
    """The lower-case runs of a FASTA as concept ``repeat``, on all contigs or on those of the regions.

    Raises
    ------
    SaeTracksError
        These contigs have no lower-case base.
    """
    contigs = dict.fromkeys(region.contig for region in genome.whole if regions is None)
    contigs |= dict.fromkeys(region.contig for region in regions or ())
    runs = {contig: genome.soft_masked(contig) for contig in contigs}
    if not any(map(len, runs.values())):
        raise SaeTracksError(
            f"{genome.path.name} has no lower-case base on {', '.join(list(runs)[:3])}: it is not soft-masked; "
            f"take UCSC's FASTA or RepeatMasker's .out"
        )
    spans = np.concatenate(list(runs.values()))
    contig = relabelled(np.repeat(np.arange(len(runs)), [len(run) for run in runs.values()]), list(runs))
    n = len(spans)
    sites = pd.DataFrame({"Chromosome": contig, "Start": spans[:, 0], "End": spans[:, 1]})
    return sites.assign(Name=constant("repeat", n), Score=np.nan, Strand=constant(".", n), TF=constant("", n))


def _by_class(found: pd.DataFrame, kind: pd.Categorical, strand: pd.Categorical, score: np.ndarray) -> pd.DataFrame:
    """Each repeat as a site of its class and, if it has a family, of class and family."""
    found = found.assign(Score=score, Strand=strand, TF=constant("", len(found)))
    classes = [name.partition("/")[0] for name in kind.categories]
    own = [name.partition("/")[2] not in ("", of) for name, of in zip(kind.categories, classes)]
    with_family = np.array(own, bool)[kind.codes]
    by_class = found.assign(Name=relabelled(kind.codes, classes))
    by_family = only(found.assign(Name=kind), with_family)
    return joined([by_class, by_family]) if len(by_family) else by_class
