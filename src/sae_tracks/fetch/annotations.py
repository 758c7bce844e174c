"""Public annotations of common assemblies: genes, repeats, regulatory elements, conservation, variants."""

import difflib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sae_tracks.errors import SaeTracksError
from sae_tracks.fetch.cache import deliver, fetch_file, unpack
from sae_tracks.fetch.transfer import GZIP, Remote

HUMAN, MOUSE = "Gencode_human/release_47", "Gencode_mouse/release_M36"
ENSEMBL = "release-113/gtf"  # of the same genes as these two of GENCODE
RMSK = "goldenPath/{assembly}/database/rmsk.txt.gz"
CCRES = "gbdb/{assembly}/encode3/ccre/encodeCcreCombined.bb"
CLINVAR = "pub/clinvar/vcf_{}/clinvar.vcf.gz"
SGD = "curation/chromosomal_feature/SGD_features.tab"
STARTS = {  # the first bytes of each format
    **dict.fromkeys(("GTF", "rmsk", "VCF"), GZIP),
    "bigBed": bytes.fromhex("ebf28987"),
    "bigWig": bytes.fromhex("26fc8f88"),
    "SGD": b"S0",
}
MOVED = "has the site moved it? A copy may be put into the cache by hand (see --offline)"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnnotationFile:
    """An annotation of an assembly on a public server."""

    name: str
    assembly: str  # UCSC's name
    format: str  # a key of `STARTS`
    contig: str  # the file's name of the first contig
    site: str  # a key of `SITES`
    path: str  # on the site; ``{assembly}`` stands for the assembly
    sums: str | None  # the list of checksums in the same folder, as of `Remote`

    @property
    def remote(self) -> Remote:
        """The file on its server."""
        return Remote(self.site, self.path.format(assembly=self.assembly), STARTS[self.format], self.sums, MOVED)


def _ucsc(name: str, assembly: str, form: str, path: str, contig: str = "chr1") -> AnnotationFile:
    return AnnotationFile(name, assembly, form, contig, "ucsc", path, "md5sum.txt")


def _genes(assembly: str, path: str) -> AnnotationFile:
    return AnnotationFile("genes", assembly, "GTF", "chr1", "gencode", path, "MD5SUMS")


def _ensembl(assembly: str, path: str) -> AnnotationFile:
    return AnnotationFile("genes", assembly, "GTF", "I", "ensembl", f"{ENSEMBL}/{path}", "CHECKSUMS")


def _clinvar(assembly: str, grc: str) -> AnnotationFile:
    return AnnotationFile("clinvar", assembly, "VCF", "1", "ncbi", CLINVAR.format(grc), "clinvar.vcf.gz.md5")


TABLE = (
    _genes("hg38", f"{HUMAN}/gencode.v47.annotation.gtf.gz"),
    _genes("hg19", f"{HUMAN}/GRCh37_mapping/gencode.v47lift37.annotation.gtf.gz"),
    _genes("mm39", f"{MOUSE}/gencode.vM36.annotation.gtf.gz"),
    _ensembl("ce11", "caenorhabditis_elegans/Caenorhabditis_elegans.WBcel235.113.gtf.gz"),
    _ensembl("sacCer3", "saccharomyces_cerevisiae/Saccharomyces_cerevisiae.R64-1-1.113.gtf.gz"),
    _ucsc("repeats", "hg38", "rmsk", RMSK),
    _ucsc("repeats", "hg19", "rmsk", RMSK),
    _ucsc("repeats", "mm39", "rmsk", RMSK),
    _ucsc("repeats", "ce11", "rmsk", RMSK, "chrI"),
    _ucsc("ccres", "hg38", "bigBed", CCRES),
    _ucsc("ccres", "mm10", "bigBed", CCRES),
    _ucsc("phylop", "hg38", "bigWig", "goldenPath/{assembly}/phyloP100way/{assembly}.phyloP100way.bw"),
    _ucsc("phylop", "hg19", "bigWig", "goldenPath/{assembly}/phyloP100way/{assembly}.100way.phyloP100way.bw"),
    _ucsc("phylop", "mm39", "bigWig", "goldenPath/{assembly}/phyloP35way/{assembly}.phyloP35way.bw"),
    _ucsc("phylop", "ce11", "bigWig", "goldenPath/{assembly}/phyloP135way/{assembly}.phyloP135way.bw", "chrI"),
    _ucsc("phastcons", "sacCer3", "bigWig", "goldenPath/{assembly}/phastCons7way/{assembly}.phastCons7way.bw", "chrI"),
    _clinvar("hg38", "GRCh38"),
    _clinvar("hg19", "GRCh37"),
    AnnotationFile("sgd", "sacCer3", "SGD", "1", "sgd", SGD, None),
)
# what users may look for and no server has
ABSENT = {
    ("repeats", "sacCer3"): "UCSC has no rmsk table of it (`sgd` has its LTRs and retrotransposons)",
    ("phylop", "sacCer3"): "UCSC has no phyloP of it (`phastcons` is there)",
}


def annotation_file(name: str, assembly: str) -> AnnotationFile:
    """Return the row of `TABLE`; an unknown name or assembly is an error that lists what there is."""
    rows = [row for row in TABLE if row.name == name]
    if not rows:
        raise SaeTracksError(f"no annotation {name!r}{_choices(name, (row.name for row in TABLE))}")
    for row in rows:
        if row.assembly == assembly:
            return row
    why = f", because {ABSENT[name, assembly]}" if (name, assembly) in ABSENT else ""
    raise SaeTracksError(f"no {name} of {assembly!r}{why}{_choices(assembly, (row.assembly for row in rows))}")


def _choices(word: str, names: Iterable[str]) -> str:
    """Return what the word may have meant, and what there is."""
    there = list(dict.fromkeys(names))
    near = difflib.get_close_matches(word, there, 1)
    return f"{f' (did you mean {near[0]}?)' if near else ''}; choose from {', '.join(there)}"


def fetch_annotation(
    name: str,
    assembly: str,
    out: Path,
    *,
    cache: Path | None = None,
    offline: bool = False,
    force: bool = False,
) -> bool:
    """Fetch a public annotation of an assembly; return whether the file was there already; see `fetch_genome`.

    The file stays as its server has it, except that gzip becomes plain text if `out` does not end in .gz. If its
    contigs have other names than UCSC's, the log says which ``--alias`` translates them.

    Parameters
    ----------
    name : str
        ``genes``, ``repeats``, ``ccres``, ``phylop``, ``phastcons``, ``clinvar`` or ``sgd``.
    assembly : str
        UCSC's name, such as ``hg38``.

    Raises
    ------
    SaeTracksError
        There is no such annotation (the error lists what there is), or `out` ends in .gz and the file is no gzip.
    """
    row = annotation_file(name, assembly)
    remote = row.remote
    if out.suffix == ".gz" and remote.starts != GZIP:
        raise SaeTracksError(f"{out}: {remote.name} is {row.format}, which is not gzip: leave out .gz")
    path, origin = fetch_file(remote, cache, offline=offline)
    plain = remote.starts == GZIP and out.suffix != ".gz"
    kept = deliver(out, [origin], lambda temporary: unpack(path, temporary, plain=plain), force=force)
    if not row.contig.startswith("chr"):
        log.info("%s: contigs are named as %s, not as UCSC's: give the other verbs --alias ucsc", out, row.contig)
    return kept
