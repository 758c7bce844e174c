"""Every control of the reported pairs, in one table that ends in a verdict."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.controls.baselines import baselines, causal_reference
from sae_tracks.controls.best import Best, Cells, best, cells_of
from sae_tracks.controls.chance import decoy_scores
from sae_tracks.controls.evidence import examine
from sae_tracks.controls.fit import offset_profiles
from sae_tracks.controls.pairs import Pairs
from sae_tracks.controls.sample import REPORT, Columns, Sample, Sites, cover, instances_in, label_sites, numbers_of
from sae_tracks.controls.verdict import verdicts
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.lm.untrained import Kind
from sae_tracks.metrics import Evaluation
from sae_tracks.motifs import Motif

UNTRAINED: dict[Kind, str] = {"random": "untrained_f1", "permuted": "permuted_f1"}
log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """The bases of a sample through an SAE.

    Attributes
    ----------
    features : Columns
        (n x d_sae).
    cutoffs : (T, d_sae) float32
        Ascending along T; a feature is active where its value is strictly greater.
    """

    features: Columns
    cutoffs: NDArray[np.float32]

    def cells(self, n: int) -> Cells:
        """For n bases."""
        return cells_of(self.features, self.cutoffs, n)


@dataclass(frozen=True, slots=True)
class Against:
    """What matches are held against besides the controls that need nothing.

    Attributes
    ----------
    motifs : sequence of Motif
        Matrices of concepts, found by matrix ID: for decoys and the causal reference. None: neither is run.
    p : float
        The p-value at which a word is a site of the annotation, for the causal reference.
    decoys : int
        Column-shuffled matrices a motif.
    repeats : Annotation, optional
        Repeats by class.
    blanks : function, optional
        From the sample of the trained model to those of untrained ones: kind and what is seen through each.
    seeds : function, optional
        From a sample to what SAEs of other seeds see in it.
    seed : int
        Of all that is drawn.
    """

    motifs: Sequence[Motif] = ()
    p: float = 1e-4
    decoys: int = 5
    repeats: Annotation | None = None
    blanks: Callable[[Sample], Sequence[tuple[Kind, Seen]]] | None = None
    seeds: Callable[[Sample], Sequence[Seen]] | None = None
    seed: int = 0


def control(
    table: pd.DataFrame,
    evaluation: Evaluation,
    samples: Sequence[Sample],
    thresholds: ArrayLike,
    cutoffs: ArrayLike,
    against: Against,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold the best feature of every concept against all else that could explain it.

    Parameters
    ----------
    table : DataFrame
        Of `best_features`: a row a concept and site strand, at least one.
    evaluation : Evaluation
        Split into halves.
    samples : sequence of Sample
        One for each read strand in the table.
    thresholds : (T,) float64
        Ascending, those of the table among them.
    cutoffs : (T, d_sae) float32
        What each feature's value exceeds at each threshold.
    against : Against

    Returns
    -------
    controlled : DataFrame
        The rows of the table, in order, with the columns of docs/formats.md and a new `verdict`.
    offsets : DataFrame
        See `offset_profiles`.
    """
    thresholds, cutoffs = np.asarray(thresholds, np.float64), np.asarray(cutoffs, np.float32)
    parts, profiles = [], []
    for sample in samples:
        rows = table[table["read_strand"] == sample.read_strand]
        if len(rows):
            columns, profile = _of_strand(rows, evaluation, sample, thresholds, cutoffs, against)
            parts.append(columns.set_index(rows.index))
            profiles.append(profile)
    controlled = table.drop(columns="verdict").join(pd.concat(parts))
    controlled = controlled.join(verdicts(controlled)).join(_classes(controlled["concept"], against.motifs))
    return controlled, pd.concat(profiles, ignore_index=True)


def _of_strand(
    rows: pd.DataFrame,
    evaluation: Evaluation,
    sample: Sample,
    thresholds: NDArray[np.float64],
    cutoffs: NDArray[np.float32],
    against: Against,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The controls of the pairs of one read strand, a row a pair, and their profiles of offsets."""
    concepts = evaluation.labels.concepts
    sites = label_sites(sample, evaluation.labels.annotation.sites, concepts)
    pairs = pairs_of(rows, concepts, cutoffs, thresholds)
    repeats, names = repeat_columns(sample, against.repeats)
    log.info("controls: %d pairs on %s bases in %d bins", len(pairs), f"{len(sample):,}", len(sample.bins))
    measured = examine(sample, sites, pairs, concepts, repeats=repeats, repeat_names=names, seed=against.seed)
    measured.insert(0, "sample_instances", _sampled(sample, sites, evaluation)[pairs.concept])
    columns = pd.concat(
        [baselines(sample, sites, seed=against.seed), *_others(sample, sites, evaluation, cutoffs, against)], axis=1
    )
    found = pd.concat([measured, columns.iloc[pairs.concept].reset_index(drop=True)], axis=1)
    causal = causal_reference(sample, sites, _oriented(against.motifs, concepts, pairs), p=against.p)[pairs.concept]
    found["causal_ref_f1"] = causal
    found["memorised"] = pd.array(np.where(np.isnan(causal), None, found["sample_f1"] > causal), "boolean")
    found["next_concept"] = [concepts["concept"].iloc[c] if c >= 0 else "" for c in found["next_concept"]]
    return found, offset_profiles(sample, sites, pairs, concepts)


def _others(
    sample: Sample, sites: Sites, evaluation: Evaluation, cutoffs: NDArray[np.float32], against: Against
) -> list[pd.DataFrame]:
    """What needs the best feature of every concept: decoys, models without training, other seeds; a row a concept."""
    half = sample.half_of_base()

    def through(seen: Seen) -> Best:
        return best(seen.cells(len(sample)), sites.labels, half)

    parts = []
    if against.motifs:
        cells = Seen(sample.features, cutoffs).cells(len(sample))
        how = (cells, half, against.motifs, against.decoys, against.seed)
        parts.append(decoy_scores(sample, sites, evaluation.labels.concepts, evaluation.genome, *how))
    if against.blanks:
        scores: dict[str, list[NDArray]] = {name: [] for name in UNTRAINED.values()}
        for kind, seen in against.blanks(sample):
            scores[UNTRAINED[kind]].append(through(seen).f1)
        parts.append(pd.DataFrame({name: np.fmax.reduce(f1) for name, f1 in scores.items() if f1}))
    if against.seeds:
        f1 = np.array([through(seen).f1 for seen in against.seeds(sample)])
        parts.append(pd.DataFrame({"seeds_f1_min": f1.min(axis=0), "seeds_f1_max": f1.max(axis=0)}))
    return parts


def pairs_of(
    rows: pd.DataFrame, concepts: pd.DataFrame, cutoffs: NDArray[np.float32], thresholds: NDArray[np.float64]
) -> Pairs:
    """Rows of a table as pairs."""
    concept = numbers_of(concepts, rows["concept"], rows["site_strand"])
    feature = rows["feature"].str[1:].to_numpy(np.int64)
    step = np.searchsorted(thresholds, rows["threshold"])
    return Pairs(concept, feature, cutoffs[step, feature])


def repeat_columns(sample: Sample, repeats: Annotation | None) -> tuple[Columns | None, list[str]]:
    """Bases in repeats by class, and the names of the classes."""
    if repeats is None:
        return None, []
    name = repeats.sites["Name"].astype("category").cat
    return cover(sample, repeats.sites, name.codes.to_numpy(np.int64), len(name.categories)), list(name.categories)


def _sampled(sample: Sample, sites: Sites, evaluation: Evaluation) -> NDArray[np.int64]:
    """(C,) int64: instances of every concept on the report half of a sample; of A, C, G and T, bases."""
    concepts, annotated = evaluation.labels.concepts, evaluation.labels.annotation.sites
    number = numbers_of(concepts, annotated["Name"].astype(str), annotated["Strand"].astype(str))
    found = instances_in(sample, REPORT, annotated, number, len(concepts))
    counted = sample.in_half(REPORT)
    found[: len(NUCLEOTIDES)] = [np.count_nonzero(counted[sites.labels[i][0]]) for i in range(len(NUCLEOTIDES))]
    return found


def _oriented(motifs: Sequence[Motif], concepts: pd.DataFrame, pairs: Pairs) -> dict[int, Motif]:
    """The matrices of reported concepts as their sites lie along the forward strand; none where they have no strand."""
    by_id = {motif.matrix_id: motif for motif in motifs}
    turned = {"+": lambda motif: motif, "-": Motif.reverse_complement}
    named = concepts.iloc[np.unique(pairs.concept)]
    return {
        number: turned[row.site_strand](by_id[row.concept])
        for number, row in zip(named.index, named.itertuples())
        if row.concept in by_id and row.site_strand in turned
    }


def _classes(concept: pd.Series, motifs: Sequence[Motif]) -> pd.DataFrame:
    """Class and family of the transcription factor of every row, "" where they are not known."""
    by_id = {motif.matrix_id: (motif.tf_class, motif.tf_family) for motif in motifs}
    found = [by_id.get(name, ("", "")) for name in concept]
    return pd.DataFrame(found, index=concept.index, columns=["tf_class", "tf_family"])
