"""What features respond to: their strongest places, aligned to a motif, compared with known ones, and named.

A motif is made on the select half. Whether it tells the feature's places from silent ones is measured on the report
half, and so is where the feature peaks.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation, read_annotation, read_annotations
from sae_tracks.arrays import adjusted
from sae_tracks.controls.opened import ALU
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import run
from sae_tracks.files import digest, whole_path
from sae_tracks.insight.named import FeatureMotifs
from sae_tracks.insight.places import FLANK, Places
from sae_tracks.insight.shards import Arrays, Run, Shards
from sae_tracks.insight.study import Studied, study
from sae_tracks.insight.tomtom import FEW, Comparison, compare_motifs
from sae_tracks.insight.where import Q, Sites, alu_context, half_bases, most_enriched, names_of
from sae_tracks.metrics import Evaluation, Halves, annotation_checksums, split_halves
from sae_tracks.motifs import Motif, named_motifs
from sae_tracks.names import counted, feature_name, motif_label
from sae_tracks.regions import WHOLE, Shard
from sae_tracks.source import ReadBases, Source

PLACES, APART = 1000, 100
MIN_OVERLAP = 5  # columns of a motif and a known one, at least, or all of the narrower one
MATCHES = 3  # known motifs that the table names
log = logging.getLogger(__name__)


def feature_motifs(
    source: Source,
    halves: Halves | Evaluation | None = None,
    features: Iterable[int] | None = None,
    *,
    places: int = PLACES,
    apart: int = APART,
    motifs: str | None = None,
    repeats: str | None = None,
    annotation: Sequence[str | Path] = (),
    alias: str | Path | None = None,
    seed: int = 0,
) -> FeatureMotifs:
    """Name what features respond to: align the sequence of their strongest places, and look where these lie.

    One pass over the genome finds the strongest places of each feature in each half. The windows of those on the select
    half, 30 bases on either side of the peak along the direction of reading, are shifted and turned until they agree.
    The motif is then scored on the windows of the report half: does it tell the feature's places from places with the
    same GC content at which the feature is silent? A motif is given if it does (q < 0.05 over all features).

    Memory: at 1,000 places per half, about 75 kB per feature and read strand while the genome is read, 10 kB for the
    places at which features are silent, and then 35 kB for the places.

    Parameters
    ----------
    source : Source
        Language model, SAE, genome, regions and read strands.
    halves : Halves or Evaluation, optional
        The bases that choose and those that report. Default: those of `split_halves`.
    features : iterable of int, optional
        Feature ids; default: all that the SAE does not call dead.
    places : int
        Most places per feature and half.
    apart : int
        Fewest bases between two places of a feature, 61 or more.
    motifs : str, optional
        A file of known matrices, or a release such as ``JASPAR2024``, that motifs are compared with.
    repeats : str, optional
        An annotation of repeats, ``softmask`` for the lower case of the FASTA, or ``alu`` for an alignment, which also
        tells the position in the consensus.
    annotation : sequence of path
        Genes, or any annotation: the share of the places in each concept is compared with that of all bases.
    alias : str or path, optional
        Other names of contigs; see `read_annotation`.
    seed : int
        Of the draw of silent places and of the bootstrap.

    Returns
    -------
    FeatureMotifs
        The table, the motifs and the places; `write` makes files of them.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, the regions lie in one half, or a file cannot be read.
    """
    halves = halves.halves if isinstance(halves, Evaluation) else halves or split_halves(source.regions or ())
    ids, named = asked_features(source, features), (motifs, repeats, annotation, alias)
    question = MotifQuestion(ReadBases.of(source), halves, ids, places, apart, *named, seed)
    return MotifRun(source, question).whole()


@dataclass(frozen=True, slots=True)
class MotifQuestion:
    """What is asked of the places of features, and what they are compared with; see `feature_motifs`.

    The files that it names are read at once, so that one that is missing is told before the genome is read.
    """

    bases: ReadBases
    halves: Halves
    features: list[int]
    places: int = PLACES
    apart: int = APART
    motifs: str | None = None
    repeats: str | None = None
    annotation: Sequence[str | Path] = ()
    alias: str | Path | None = None
    seed: int = 0
    known: tuple[list[Motif], dict[str, str] | None] = field(init=False)
    genes: Annotation | None = field(init=False)
    copies: Annotation | None = field(init=False)

    def __post_init__(self) -> None:
        on = self.bases.genome, self.bases.regions
        genes = read_annotations(self.annotation, *on, alias=self.alias) if self.annotation else None
        object.__setattr__(self, "known", named_motifs(self.motifs) if self.motifs else ([], None))
        if genes is not None and not len(genes):
            raise SaeTracksError(f"{genes.source} has no site in the regions: leave it out, or name another file")
        object.__setattr__(self, "genes", genes)
        copies = None
        if self.repeats and self.repeats != ALU:
            copies = read_annotation(self.repeats, *on, alias=self.alias)
            if not len(copies):
                raise SaeTracksError(
                    f"{copies.source} has no repeat in the regions: leave --repeats out, or name another file"
                )
        object.__setattr__(self, "copies", copies)

    @classmethod
    def again(cls, inputs: dict[str, Any]) -> "MotifQuestion":
        """The question of a shard."""
        bases, halves = ReadBases.again(inputs["bases"]), Halves.again(inputs["halves"])
        return cls(bases, halves, inputs["features"], **{name: inputs[name] for name in _OPTIONS})

    def inputs(self) -> dict[str, Any]:
        """What `again` needs, as JSON."""
        named = {name: (value := getattr(self, name)) and whole_path(value) for name in ("motifs", "repeats", "alias")}
        named["annotation"] = [*map(whole_path, self.annotation)]
        options = {name: getattr(self, name) for name in _OPTIONS} | named
        return options | {"bases": self.bases.record(), "halves": self.halves.record(), "features": self.features}

    def facts(self) -> dict[str, Any]:
        """What the result depends on beside the source."""
        return {
            "halves_sha256": digest([str(self.halves)]),
            "features": len(self.features),
            "features_sha256": digest(map(str, self.features)),
            "places": self.places,
            "apart": self.apart,
            "flank": FLANK,
            "background": "frequencies of A, C, G and T on the select half, both strands",
            "motifs": self.known[1],
            "repeats": None if self.repeats is None else annotation_checksums([self.repeats]),
            "annotation": annotation_checksums(self.annotation),
            "alias": None if self.alias is None else annotation_checksums([self.alias]),
            "seed": self.seed,
        }

    def sink(self) -> Places:
        return Places(self.bases, self.halves, self.features, self.places, self.apart, self.seed)

    def answer(self, sink: Places, facts: dict[str, Any]) -> FeatureMotifs:
        """Align and test the windows of a sink that has seen all bases."""
        studied, last = study(sink, self.seed), len(self.halves.names) - 1
        table, made = _table(self.features, studied, self.halves)
        table = table.join(_matched(made, self.known[0], table))
        report = [some["line"][some["half"] == last] for some in studied.places.values()]
        table = _named(table.join(_where(sink, report, self.repeats == ALU, self.copies, self.genes)))
        strands = self.bases.read_strands
        return FeatureMotifs(table, made, studied.places, studied.background, facts, strands, sink.line, self.halves)


_OPTIONS = ("places", "apart", "motifs", "repeats", "annotation", "alias", "seed")


class MotifRun(Run):
    """A run of `feature_motifs`; `run_shard` reads it in parts."""

    verb = "motifs"

    def __init__(self, source: Source, question: MotifQuestion) -> None:
        self._source, self._question = source, question

    def whole(self) -> FeatureMotifs:
        """Read all windows."""
        sink = self._read(WHOLE)
        return self._question.answer(sink, self.provenance())

    def sources(self) -> list[dict[str, Any]]:
        return [self._source.provenance()]

    def facts(self) -> dict[str, Any]:
        return self._question.facts()

    def inputs(self) -> dict[str, Any]:
        return self._question.inputs()

    def read(self, shard: Shard) -> Arrays:
        return self._read(shard).arrays()

    def _read(self, shard: Shard) -> Places:
        sink = self._question.sink()
        run(self._source.blocks(self._question.features, shard=shard), sink)
        return sink


def merge_motifs(shards: Shards) -> FeatureMotifs:
    """Join the places of all shards, and align them as one run does; only the FASTA and other files are read again."""
    question = MotifQuestion.again(shards.inputs)
    shards.check(question.facts())
    sink = question.sink()
    for arrays in shards.arrays():
        sink.merge(arrays)
    return question.answer(sink, shards.provenance())


def asked_features(source: Source, features: Iterable[int] | None) -> list[int]:
    """The features to look at, ascending."""
    return source.sae.check_features(source.sae.alive() if features is None else features).tolist()


def _table(ids: list[int], studied: Studied, halves: Halves) -> tuple[pd.DataFrame, list[Motif]]:
    """One row per feature on its motif, and the motifs that hold."""
    q = adjusted(np.array([found.p for found in studied.found], np.float64))
    rows, motifs = [], []
    for feature, found, one_q in zip(ids, studied.found, q):
        places, alignment = studied.places[feature], found.alignment
        held = alignment is not None and one_q < Q
        why = found.why or ("" if held else "tells no places from silent ones on the report half")
        consensus = consensus_of(alignment.counts) if held and alignment else ""
        if held and alignment:
            motifs.append(Motif(feature_name(feature), consensus, alignment.counts.astype(np.float64)))
        rows.append({
            "feature": feature_name(feature),
            "why": why,
            "places": int((places["half"] == 0).sum()),
            "report_places": int((places["half"] == len(halves.names) - 1).sum()),
            "silent_places": found.silent,
            "sites": int(motifs[-1].counts.sum(axis=1).max()) if held else 0,
            "width": alignment.width if held and alignment else 0,
            "consensus": consensus,
            "information": float(alignment.information().sum()) if held and alignment else np.nan,
            **dict(zip(("auroc", "auroc_low", "auroc_high"), found.auroc)),
            "auroc_q": one_q,
        })  # fmt: skip
    return pd.DataFrame(rows), motifs


IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "AC": "M", "AG": "R", "AT": "W", "CG": "S", "CT": "Y", "GT": "K"}


def consensus_of(counts: NDArray[np.integer]) -> str:
    """Consensus in IUPAC's letters (Cavener 1987): one letter that has half of the sites and twice as many as the next,
    else two that have three quarters, else N."""
    letters = []
    for row in counts:
        order = np.argsort(-row, kind="stable")
        top, second, n = row[order[0]], row[order[1]], row.sum()
        if 2 * top >= n and top >= 2 * second:
            letters.append(NUCLEOTIDES[order[0]])
        elif 4 * (top + second) >= 3 * n:
            letters.append(IUPAC["".join(sorted(NUCLEOTIDES[i] for i in order[:2]))])
        else:
            letters.append("N")
    return "".join(letters)


def _matched(motifs: list[Motif], known: Sequence[Motif], table: pd.DataFrame) -> pd.DataFrame:
    """The known motifs that are most like each feature's, with q-values over all pairs."""
    empty = {"match": "", "match_tf": "", "match_p": np.nan, "match_q": np.nan, "match_strand": "", "more_matches": ""}
    found = {feature: dict(empty) for feature in table["feature"]}
    if motifs and known:
        if len(known) < FEW:
            log.warning(
                "%s: with fewer than %d, p-values depend on which ones are compared",
                counted(len(known), "known motif"),
                FEW,
            )
        compared = compare_motifs(motifs, known, min_overlap=MIN_OVERLAP)
        q = adjusted(compared.p.ravel()).reshape(compared.p.shape)
        for row, motif in enumerate(motifs):
            found[motif.matrix_id] = _match(compared, q, row, known)
    return pd.DataFrame(list(found.values()), index=table.index)


def _match(compared: Comparison, q: NDArray[np.float64], row: int, known: Sequence[Motif]) -> dict[str, Any]:
    first, *rest = compared.best(row, MATCHES)
    more = [f"{motif_label(known[i].tf, known[i].matrix_id)} q={q[row, i]:.1e}" for i in rest if q[row, i] < Q]
    return {
        "match": known[first].matrix_id,
        "match_tf": known[first].tf,
        "match_p": compared.p[row, first],
        "match_q": q[row, first],
        "match_strand": "+" if compared.strand[row, first] > 0 else "-",
        "more_matches": "; ".join(more),
    }


def _where(
    sink: Places, report: list[NDArray[np.int64]], alu: bool, copies: Annotation | None, genes: Annotation | None
) -> pd.DataFrame:
    """In which repeats and in which concepts features peak on the report half."""
    last = len(sink.halves.names) - 1
    bases = half_bases(sink.bases, sink.halves, last, sink.line)
    parts = []
    if alu:
        parts.append(alu_context(sink.bases.genome, sink.line, report, sink.middles(sink.tiles(last))[::_STEP]))
    for kind, read, stranded in (("repeat", copies, False), ("concept", genes, True)):
        if read is not None:
            parts.append(most_enriched(Sites.of(read, sink.line, bases, stranded=stranded), report, kind))
    return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=range(len(report)))


_STEP = 5  # of the drawn tiles every fifth says which share of the bases lies in Alu


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with names behind the features: of a repeat first, then of a concept, then of a known motif."""
    names, origin = [""] * len(table), [""] * len(table)
    known = [motif_label(tf, match) for tf, match in zip(table["match_tf"], table["match"])]
    matched = [name if q < Q else "" for name, q in zip(known, table["match_q"])]
    kinds = {kind: names_of(table, kind) for kind in ("repeat", "concept") if kind in table}
    for kind, given in (kinds | {"motif": matched}).items():
        for i, name in enumerate(given):
            if name and not names[i]:
                names[i], origin[i] = name, kind
    table = table.copy()
    table.insert(1, "name", names)
    table.insert(2, "name_from", origin)
    return table
