"""The inputs of the controls: opened and checked before the first window, and opened again when shards are merged."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import pandas as pd

from sae_tracks.activations.shards import ActivationShards
from sae_tracks.annotations import Annotation, filter_sites, read_annotation, read_annotations
from sae_tracks.annotations.bed import MATRIX_ID
from sae_tracks.bootstrap import DRAWS
from sae_tracks.controls.alu import alu_sites
from sae_tracks.controls.chance import FEW, decoys_for
from sae_tracks.controls.control import ControlInputs, run_controls
from sae_tracks.controls.gather import FEATURES, Gathered
from sae_tracks.controls.items import BLOCKS, LAG, PIECE, report_tiles
from sae_tracks.controls.reference import causal_reference, sample_of
from sae_tracks.controls.specificity import motif_clusters, selectivity
from sae_tracks.controls.untrained import (
    MODELS,
    check_untrained,
    open_trained_on,
    untrained_facts,
    untrained_sources,
)
from sae_tracks.controls.verdict import LEAST_INSTANCES, is_motif, strength, verdicts
from sae_tracks.controls.view import concept_numbers
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.files import atomic, sha256, whole_path
from sae_tracks.genome import Genome
from sae_tracks.lm.untrained import Kind
from sae_tracks.metrics import OFFSETS, Evaluation, Halves, Judge, Labels, annotation_checksums
from sae_tracks.motifs import Competitors, Motif, match_decoys, named_motifs
from sae_tracks.names import counted
from sae_tracks.regions import GenomicRegion, ReadStrand
from sae_tracks.sae import SAE, load_sae
from sae_tracks.sae.directory import check_match
from sae_tracks.source import Source

ALU = "alu"
SHOWN = 5  # names in a message
OF_SAES = ("seeds", "seed_origins", "untrained_on")  # facts that need the SAEs
SITE_P = 1e-4  # of JASPAR's tracks and of `scan`, if no --min-score says otherwise
CLUSTERED = 1_000_000  # bases on which motifs are compared
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """What the best matches are compared with, besides words, a probe, dimensions, matched regions and shifts.

    A match is ``supported`` only if all tests were run, so a motif needs `motifs`, and every concept needs `repeats`
    and `trained_on`.

    Attributes
    ----------
    motifs : str, optional
        A file of matrices (JASPAR, PFM, MEME), or a release such as ``JASPAR2024``: for decoys and causal reference.
    decoys : int, optional
        Number of decoys wanted per motif. By default 4,000 divided by the number of motifs and site strands that are
        tested, at least 5 and at most 199. Only with `motifs`.
    repeats : str, optional
        An annotation of repeats, ``softmask`` for the lower case of the FASTA, or ``alu`` for an alignment.
    seeds : sequence of str
        SAEs of other seeds.
    trained_on : path, optional
        The activations that the SAE was trained on; or a BED file or one region (as text), to train the SAEs of
        untrained models on. Untrained models are made and compared with only if it is given.
    untrained : sequence of (kind, Source)
        Untrained models with their SAEs that are there already; instead of `trained_on`.
    """

    motifs: str | None = None
    decoys: int | None = None
    repeats: str | None = None
    seeds: Sequence[str] = ()
    trained_on: str | Path | None = None
    untrained: Sequence[tuple[Kind, Source]] = ()

    def __post_init__(self) -> None:
        if self.untrained and self.trained_on is not None:
            raise UsageError("untrained models are either given or made: leave out untrained, or trained_on")
        if self.decoys is not None and not self.motifs:
            raise UsageError("--decoys alters the matrices of motifs: name these by --motifs, or leave it out")


STANDARD = ControlSettings()


@dataclass(frozen=True)
class OpenControls:
    """What the settings name, open and checked."""

    settings: ControlSettings
    causal: bool
    motifs: Sequence[Motif]
    p: float | None  # at which a word is a site of the annotation; None: unknown
    competitors: Competitors | None
    few: bool
    repeats: Annotation | None
    facts: dict[str, Any]
    seeds: Sequence[SAE] = ()
    trained_on: ActivationShards | Sequence[GenomicRegion] | None = None

    @classmethod
    def of(cls, settings: ControlSettings, source: Source, evaluation: Evaluation, *, shard: bool = False) -> Self:
        """Open and check everything; no window is read. In a shard, Alu is not looked for."""
        others = [load_sae(seed) for seed in settings.seeds]
        for other in others:
            check_match(other, source.lm, allow_mismatch=source.allow_mismatch)
        trained_on = facts = None
        if settings.trained_on is not None:
            trained_on = open_trained_on(str(settings.trained_on), source.sae, source.genome)
            check_untrained(source, trained_on)
            facts = untrained_facts(source, trained_on)
        elif settings.untrained:
            facts = {"models": [other.lm.model_id for _, other in settings.untrained]}
        seeds = {"seeds": [other.checksum for other in others], "untrained_on": facts}
        if any(other.origin for other in others):
            seeds["seed_origins"] = [other.origin for other in others]
        opened = cls.again(settings, evaluation, source.lm.causal, seeds, alu=not shard)
        return cls(**{**vars(opened), "seeds": others, "trained_on": trained_on})

    @classmethod
    def again(
        cls, settings: ControlSettings, evaluation: Evaluation, causal: bool, facts: dict[str, Any], *, alu: bool = True
    ) -> Self:
        """Open what needs no model."""
        motifs, motifs_from = named_motifs(settings.motifs) if settings.motifs else ([], None)
        _say_motifs_without_matrix(evaluation, settings, {motif.matrix_id for motif in motifs})
        repeats = None
        if settings.repeats is not None and (alu or settings.repeats != ALU):
            repeats = _open_repeats(settings.repeats, evaluation, report_tiles(evaluation))
        p = _site_p(evaluation, bool(motifs))
        named = judged_concepts(evaluation)
        named = named[named["concept"].isin([motif.matrix_id for motif in motifs])]
        k = decoys_for(len(named)) if settings.decoys is None else settings.decoys
        competitors, few, tested = None, len(named) <= FEW, set(named["concept"])
        if tested:
            wanted = [motif for motif in motifs if motif.matrix_id in tested]
            competitors = match_decoys(evaluation.genome, wanted, k, evaluation.regions, p=p or SITE_P)
        facts = facts | {
            "motifs": motifs_from,
            "decoys": k if motifs else None,
            "few": few,
            "matched": competitors and competitors.facts,
            "repeats": None if settings.repeats is None else annotation_checksums([settings.repeats]),
            "lag": LAG if causal else 0,
            "piece": PIECE,
            "blocks": BLOCKS,
            "draws": DRAWS,
            "least_instances": LEAST_INSTANCES,
        }
        return cls(settings, causal, motifs, p, competitors, few, repeats, facts)

    @property
    def sources(self) -> int:
        """How many SAEs are read: this one, those of other seeds, and those of untrained models."""
        models = 0 if self.trained_on is None else len(MODELS)
        return 1 + len(self.seeds) + len(self.settings.untrained) + models

    def untrained(self, source: Source, out: Path) -> Iterator[tuple[Kind, int, Source]]:
        """Yield untrained models with their SAEs, one at a time."""
        for number, (kind, other) in enumerate(self.settings.untrained):
            yield kind, number, other
        if self.trained_on is not None:
            yield from untrained_sources(source, self.trained_on, out / "untrained")

    def judge(self, gathered: Gathered, evaluation: Evaluation, out: Path) -> Judge:
        """Return what gives the best matches their columns and verdicts; it writes the profiles of offsets."""
        few, repeats = self.few, self.repeats
        inputs = ControlInputs(evaluation, self.causal, self.competitors, few, repeats)

        def judge(best: pd.DataFrame) -> pd.DataFrame:
            measured, offsets = run_controls(best, gathered, inputs)
            with atomic(out / OFFSETS) as temporary:
                offsets.to_parquet(temporary, index=False)
            table = best.drop(columns="verdict").join(measured)
            table = table.join(self._others(table, gathered, evaluation))
            table = table.join(strength(table))
            return table.join(verdicts(table))

        return judge

    def _others(self, table: pd.DataFrame, gathered: Gathered, evaluation: Evaluation) -> pd.DataFrame:
        """Columns that decide no verdict: margins, the causal reference, families of factors."""
        counts, concepts = gathered.counts[FEATURES], evaluation.labels.concepts
        cluster = motif_clusters(evaluation, sample_of(evaluation, 1, CLUSTERED))
        concept = concept_numbers(concepts, table)
        column = pd.Index(counts.features).get_indexer(pd.Index(table["feature"])).astype(np.int64)
        threshold = np.searchsorted(counts.thresholds, table["threshold"].to_numpy(np.float64))
        parts = []
        for strand, name in enumerate(counts.read_strands):
            mine = np.flatnonzero(table["read_strand"] == name)
            if not len(mine):
                continue
            part = selectivity(counts, strand, concept[mine], column[mine], threshold[mine], cluster)
            causal = {}
            if self.p is not None and self.causal:
                enough = table["instances"].to_numpy()[mine] >= LEAST_INSTANCES
                along = oriented_motifs(self.motifs, concepts, concept[mine[enough]].tolist())
                causal = causal_reference(evaluation, along, cast(ReadStrand, name), p=self.p) if along else {}
            part["causal_ref_f1"] = [causal.get(int(c), np.nan) for c in concept[mine]]
            parts.append(part.set_index(table.index[mine]))
        found = pd.concat(parts).loc[table.index]
        causal_f1 = found["causal_ref_f1"].to_numpy(np.float64)
        found["memorised"] = pd.arrays.BooleanArray(table["f1"].to_numpy() > causal_f1, np.isnan(causal_f1))
        by_id = {motif.matrix_id: (motif.tf_class, motif.tf_family) for motif in self.motifs}
        classes = [by_id.get(name, ("", "")) for name in table["concept"]]
        return found.join(pd.DataFrame(classes, table.index, ["tf_class", "tf_family"]))

    def record(self, evaluation: Evaluation) -> dict[str, Any]:
        """What `evaluation_again` and `again` need when shards are merged, as JSON."""
        filters, settings = ("min_score", "min_instances", "max_coverage"), self.settings
        annotations: dict[str, str | None] = evaluation.facts.get("annotations", {})
        named = [*annotations, *filter(None, (settings.motifs, settings.repeats, evaluation.alias))]
        gone = [name for name in named if Path(name).exists() and not Path(name).is_file()]
        if gone or not annotations:
            raise SaeTracksError(
                f"--shard needs files, which merge-metrics reads again: {', '.join(map(str, gone)) or 'there are none'}"
            )
        return {
            "checksums": {
                whole_path(name): annotations.get(str(name)) or sha256(Path(name))
                for name in named
                if Path(name).is_file()
            },
            "genome": whole_path(evaluation.genome.path),
            "contigs": evaluation.genome.identity(dict.fromkeys(r.contig for r in evaluation.regions)),
            "annotations": [whole_path(name) for name in annotations],
            "instances": _instances(evaluation.labels),
            "alias": evaluation.alias and whole_path(evaluation.alias),
            "filters": {name: evaluation.facts[name] for name in filters},
            "regions": _spans(evaluation.regions),
            "black_list": _spans(evaluation.black_list),
            "halves": evaluation.halves.record(),
            "motifs": settings.motifs and whole_path(settings.motifs),
            "decoys": settings.decoys,
            "repeats": settings.repeats and whole_path(settings.repeats),
            "causal": self.causal,
            "facts": {name: self.facts[name] for name in OF_SAES if name in self.facts},
        }


def _instances(labels: Labels) -> int:
    return int(labels.instances["copies"].to_numpy(np.int64).sum())


def _spans(regions: Sequence[GenomicRegion]) -> list[tuple[str, int, int]]:
    return [(region.contig, region.start, region.end) for region in regions]


def evaluation_again(record: dict[str, Any], facts: dict[str, Any]) -> Evaluation:
    """The evaluation of a shard, from its `OpenControls.record`; its files must be where they were, and the same."""
    for path, checksum in record["checksums"].items():
        if not Path(path).is_file():
            raise SaeTracksError(f"merge-metrics reads the files of annotations again, and {path} is gone")
        if sha256(Path(path)) != checksum:
            raise SaeTracksError(f"{path} has changed since its features were counted: run the shards again")
    genome = Genome(Path(record["genome"]))
    regions, black_list = ([GenomicRegion(*one) for one in record[name]] for name in ("regions", "black_list"))
    if genome.identity(dict.fromkeys(region.contig for region in regions)) != record["contigs"]:
        raise SaeTracksError(f"{genome.path} has changed since its features were counted: run the shards again")
    read = read_annotations(record["annotations"], genome, regions, alias=record["alias"])
    labels = Labels(filter_sites(read, regions, **record["filters"]))
    if _instances(labels) != record["instances"]:
        raise SaeTracksError("annotations that were named twice cannot be merged: name each file once")
    return Evaluation(
        genome,
        regions,
        black_list,
        labels,
        Halves.again(record["halves"]),
        record["alias"],
        record["filters"]["min_score"],
        facts,
    )


def judged_concepts(evaluation: Evaluation) -> pd.DataFrame:
    """The concepts with enough instances on the report half for a verdict, readable or not."""
    found = evaluation.labels.instances
    half = np.full(len(found), -1)
    for contig in dict.fromkeys(region.contig for region in evaluation.regions):
        mine = np.flatnonzero(found["Chromosome"] == contig)
        half[mine] = evaluation.halves.of(contig, found["Start"].to_numpy(np.int64)[mine])
    concepts = evaluation.labels.concepts
    number = np.bincount(found["concept"][half == 1], found["copies"][half == 1], minlength=len(concepts))
    return cast(pd.DataFrame, concepts[number >= LEAST_INSTANCES])


def oriented_motifs(motifs: Sequence[Motif], concepts: pd.DataFrame, wanted: Sequence[int]) -> dict[int, Motif]:
    """The matrix of each wanted concept, by its number, as its sites lie along the forward strand.

    Concepts without a matrix or without a site strand are left out.
    """
    by_id = {motif.matrix_id: motif for motif in motifs}
    found = {}
    for number in sorted(set(map(int, wanted))):
        name, strand = concepts["concept"].iloc[number], concepts["site_strand"].iloc[number]
        if name in by_id and strand in ("+", "-"):
            found[number] = by_id[name] if strand == "+" else by_id[name].reverse_complement()
    return found


def _open_repeats(name: str, evaluation: Evaluation, tiles: Sequence[GenomicRegion]) -> Annotation:
    """Read the repeats in the regions; Alu is looked for in the tiles alone."""
    if name == ALU:
        return Annotation(alu_sites(evaluation.genome, tiles), "Alu by alignment")
    repeats = read_annotation(name, evaluation.genome, evaluation.regions, alias=evaluation.alias)
    if not len(repeats):
        raise SaeTracksError(
            f"{repeats.source} has no repeat in the regions: leave --repeats out, or name another file"
        )
    return repeats


def _site_p(evaluation: Evaluation, needed: bool) -> float | None:
    """The p-value at which a word is a site of the annotation; None if the unit of the scores is not known."""
    if evaluation.min_score is None:
        return SITE_P
    if _has_jaspar_scores(evaluation.labels.annotation.sites):
        least = max(evaluation.min_score, evaluation.labels.annotation.sites["Score"].to_numpy(np.float64).min())
        return min(10 ** (-least / 100), 1.0)
    if needed:
        log.info(
            "%s: --min-score is not known to be in the unit of JASPAR's tracks (-log10(p) x 100, with TF names), so "
            "causal_ref_f1 is not computed",
            evaluation.labels.annotation.source,
        )
    return None


def _has_jaspar_scores(sites: pd.DataFrame) -> bool:
    """Whether scores are -log10(p) x 100, as in JASPAR's tracks and files of one motif, and in those of ``scan``.

    Only these files name a transcription factor beside a matrix ID and have whole numbers as scores.
    """
    score = sites["Score"].to_numpy(np.float64)
    named = (sites["TF"].astype(str) != "").all() and all(map(MATRIX_ID.match, sites["Name"].astype(str).unique()))
    return bool(named and np.isfinite(score).all() and (score % 1 == 0).all())


def _say_motifs_without_matrix(evaluation: Evaluation, settings: ControlSettings, matrices: set[str]) -> None:
    """Log which motifs have no matrix, and so no decoys."""
    concepts = evaluation.labels.concepts
    without = sorted(set(concepts.loc[is_motif(concepts), "concept"]) - matrices)
    if without:
        named = ", ".join(without[:SHOWN]) + (" ..." if len(without) > SHOWN else "")
        where = f"no matrix in {settings.motifs}" if settings.motifs else "no matrix (give matrices with --motifs)"
        log.info("%s %s, so chance is not tested: %s", counted(len(without), "motif has", "motifs have"), where, named)
