"""Names of contigs: those of an annotation translated to those of the genome."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sae_tracks.annotations.text import read_text
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import ContigLengths

# Human chromosomes as in NCBI's assembly reports: name, bases in GRCh37 and GRCh38, version of the RefSeq accession
# (NC_) in GRCh38, in GRCh37 one less. GenBank's CM000663 to CM000686 are version 1 in GRCh37 and 2 in GRCh38.
_HUMAN = """
1 249250621 248956422 11
2 243199373 242193529 12
3 198022430 198295559 12
4 191154276 190214555 12
5 180915260 181538259 10
6 171115067 170805979 12
7 159138663 159345973 14
8 146364022 145138636 11
9 141213431 138394717 12
10 135534747 133797422 11
11 135006516 135086622 10
12 133851895 133275309 12
13 115169878 114364328 11
14 107349540 107043718 9
15 102531392 101991189 10
16 90354753 90338345 10
17 81195210 83257441 11
18 78077248 80373285 10
19 59128983 58617616 10
20 63025520 64444167 11
21 48129895 46709983 9
22 51304566 50818468 11
X 155270560 156040895 11
Y 59373566 57227415 10
"""
# Yeast chromosomes of R64 (sacCer3, GCF_000146045.2): name, bases, RefSeq and GenBank accessions. SGD counts them from
# 1 to 17.
_YEAST = """
I 230218 NC_001133.9 BK006935.2
II 813184 NC_001134.8 BK006936.2
III 316620 NC_001135.5 BK006937.2
IV 1531933 NC_001136.10 BK006938.2
V 576874 NC_001137.3 BK006939.2
VI 270161 NC_001138.5 BK006940.2
VII 1090940 NC_001139.9 BK006941.2
VIII 562643 NC_001140.6 BK006934.2
IX 439888 NC_001141.2 BK006942.2
X 745751 NC_001142.9 BK006943.2
XI 666816 NC_001143.9 BK006944.2
XII 1078177 NC_001144.5 BK006945.2
XIII 924431 NC_001145.3 BK006946.2
XIV 784333 NC_001146.8 BK006947.3
XV 1091291 NC_001147.6 BK006948.2
XVI 948066 NC_001148.4 BK006949.2
Mito 85779 NC_001224.1 AJ011856.1
"""
_YEAST_MITOCHONDRION = ("M", "MT", "mt", "mito")
_MITOCHONDRION = {"M", "MT"}
_OLD_CHRM = 16_571  # bases of hg19's own chrM (NC_001807); MT, NC_012920.1 and hg38's chrM are one of 16,569


def _accessions() -> dict[str, tuple[str, str, dict[str, int]]]:
    """Chromosome, assembly, and bases per assembly, by the accession of each human chromosome."""
    found = {}
    for i, line in enumerate(_HUMAN.split("\n")[1:-1]):
        name, old, new, version = line.split()
        bases = {"GRCh37": int(old), "GRCh38": int(new)}
        for back, assembly in ((1, "GRCh37"), (0, "GRCh38")):
            found[f"NC_{i + 1:06}.{int(version) - back}"] = (name, assembly, bases)
            found[f"CM{663 + i:06}.{2 - back}"] = (name, assembly, bases)
    return found


ACCESSIONS = _accessions()
LENGTHS = {(name, size): assembly for name, _, bases in ACCESSIONS.values() for assembly, size in bases.items()}


def _yeast_names() -> dict[str, tuple[str, int]]:
    """Chromosome and bases in R64 by each name of a yeast chromosome without the prefix ``chr``."""
    found = {}
    for number, line in enumerate(_YEAST.split("\n")[1:-1], 1):
        name, bases, *accessions = line.split()
        others = _YEAST_MITOCHONDRION if name == "Mito" else ()
        found |= dict.fromkeys((name, str(number), *accessions, *others), (name, int(bases)))
    return found


YEAST = _yeast_names()


class Contigs:
    """The contigs of a genome by their own names and by their aliases.

    Parameters
    ----------
    genome : ContigLengths
        The FASTA.
    alias : str or path, optional
        ``ucsc``: chr14, 14, NC_000014.9 and CM000676.2 are one contig (human accessions of GRCh37 and GRCh38, chrM
        and MT). In a genome with the contig lengths of yeast R64 (sacCer3), I, chrI, 1, chr1, NC_001133.9 and
        BK006935.2 are one. Of other species only the prefix chr counts. Else a file like UCSC's chromAlias.txt: the
        words of a line, separated by tabs, name one contig. None: names count as they stand.

    Raises
    ------
    SaeTracksError
        The file cannot be read, or names no contig of the genome.
    """

    def __init__(self, genome: ContigLengths, alias: str | Path | None = None) -> None:
        self.lengths: Mapping[str, int] = genome.lengths
        self.genome = genome.path.name
        self.alias = alias
        self._fasta = genome
        self._file = _read_aliases(Path(alias), self) if alias and str(alias) != "ucsc" else {}
        self._bare: dict[str, list[str]] = {}
        self._is_yeast = _is_yeast(self.lengths)
        for name in self.lengths if str(alias) == "ucsc" else ():
            self._bare.setdefault(self._common(name), []).append(name)

    def translate(self, names: Sequence[str], where: str) -> list[str]:
        """The genome's name for each contig of the file `where`; a contig that it lacks keeps its own name."""
        return [name if name in self.lengths else self._translated(name, where) for name in names]

    def past(self, theirs: str, ours: str) -> str:
        """The words of the error for a row that ends past its contig."""
        size = f"{ours}, which has {self.lengths[ours]:,} bases"
        assembly = "R64" if self._is_yeast else LENGTHS.get((_bare(ours), self.lengths[ours]))
        known = f"{self.genome} is {assembly}" if assembly else "is it of another assembly?"
        if theirs != ours:
            known = f"--alias {self.alias} took {theirs!r} for it, but the assemblies do not match; {known}"
        return f"{size} ({known})"

    def check_length(self, ours: str, length: int, where: str) -> None:
        """Refuse a file that states another length for a contig of the genome."""
        if self.lengths.get(ours, length) != length:
            here = self.lengths[ours]
            assembly = LENGTHS.get((_bare(ours), length))
            raise SaeTracksError(
                f"{where} and {self.genome} do not match: {ours} has {length:,} bases there"
                f"{f' ({assembly})' if assembly else ''} and {here:,} here; take both from one assembly"
            )

    def check_common(self, theirs: Sequence[str], where: str) -> None:
        """Refuse a file that has no contig in common with the genome."""
        if not self.lengths.keys() & set(self.translate(theirs, where)):
            ours = list(self.lengths)
            maps = self.lengths.keys() & set(Contigs(self._fasta, "ucsc").translate(theirs, where))
            advice = "--alias ucsc maps them" if maps else "is it of another assembly?"
            raise SaeTracksError(
                f"no contig of {where} is in {self.genome}: it has {_some(theirs)}; "
                f"the genome has {_some(ours)} ({advice})"
            )

    def _common(self, name: str) -> str:
        """The name that all names of a contig of this genome share."""
        return _yeast(name)[0] if self._is_yeast else _bare(name)

    def _translated(self, name: str, where: str) -> str:
        found = sorted(self._file.get(name, ())) or self._bare.get(self._common(name), [])
        if len(found) > 1:
            raise SaeTracksError(f"{where}: {name!r} could be {' or '.join(found)} of {self.genome}: rename it")
        if not found or _is_another_mitochondrion(name, self.lengths[found[0]]):
            return name
        if not self._file:
            self._check_assembly(name, found[0], where)
        return found[0]

    def _check_assembly(self, theirs: str, ours: str, where: str) -> None:
        """Refuse an accession of one human assembly if the genome's contig is of the other, by accession or length."""
        wanted = ACCESSIONS.get(theirs, ("", "", {}))[1]
        here = ACCESSIONS[ours][1] if ours in ACCESSIONS else LENGTHS.get((_bare(ours), self.lengths[ours]))
        if wanted and here and wanted != here:
            raise SaeTracksError(
                f"{where} and {self.genome} do not match: {theirs!r} is of {wanted}, {ours!r} of {here} "
                f"({self.lengths[ours]:,} bases); take both from one assembly"
            )


def _bare(name: str) -> str:
    """The part that all names of a contig share: 14 for chr14, 14 and NC_000014.9."""
    if name in ACCESSIONS:
        return ACCESSIONS[name][0]
    bare = _without_chr(name)
    return "MT" if bare in _MITOCHONDRION or name == "NC_012920.1" else bare


def _without_chr(name: str) -> str:
    return re.sub("^chr", "", name, flags=re.IGNORECASE)


def _yeast(name: str) -> tuple[str, int]:
    """SGD's name of a yeast chromosome and its bases in R64; another name itself, and 0."""
    return YEAST.get(_without_chr(name), (name, 0))


def _is_yeast(lengths: Mapping[str, int]) -> bool:
    """Whether a genome is yeast's R64: each contig named like a yeast chromosome has its length, one at least."""
    known = [(bases, size) for name, size in lengths.items() if (bases := _yeast(name)[1])]
    return known != [] and all(bases == size for bases, size in known)


def _is_another_mitochondrion(name: str, bases: int) -> bool:
    """Whether a name is Ensembl's MT or NC_012920.1 and the contig hg19's own chrM, which is two bases longer."""
    return bases == _OLD_CHRM and name in ("MT", "NC_012920.1")


def _read_aliases(path: Path, contigs: Contigs) -> dict[str, set[str]]:
    """The genome's contigs by the aliases that a file gives them."""
    found: dict[str, set[str]] = {}
    for line in read_text(path).lines.decode(errors="replace").split("\n"):
        words = {word for word in line.lstrip("# ").split("\t") if word}
        for ours in words & contigs.lengths.keys():
            for word in words - {ours}:
                found.setdefault(word, set()).add(ours)
    if not found:
        raise SaeTracksError(
            f"{path.name} gives no other name to a contig of {contigs.genome}: "
            f"a line of it names one contig, such as chr14, a tab and NC_000014.9 (or say --alias ucsc)"
        )
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:2]) + " ..." * (len(names) > 2)
