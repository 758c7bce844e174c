"""Every control of the reported pairs, in one table that ends in a verdict."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.controls.baselines import causal_reference, probe_neurons
from sae_tracks.controls.best import Best, Cells, best, cells_of
from sae_tracks.controls.fit import f1_intervals, lags, offset_profiles, rankings
from sae_tracks.controls.pairs import Pairs, Reported
from sae_tracks.controls.random_sae import best_random_features
from sae_tracks.controls.sample import REPORT, Columns, Sample, Sites, cover, instances_in, label_sites, numbers_of
from sae_tracks.controls.specificity import motif_clusters, selectivity
from sae_tracks.controls.verdict import TESTS, verdicts
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.genome import Genome
from sae_tracks.lm.untrained import Kind
from sae_tracks.metrics import Evaluation
from sae_tracks.motifs import Motif

UNTRAINED: dict[Kind, str] = {"random": "untrained_f1", "permuted": "permuted_f1"}
log = logging.getLogger(__name__)


class SampledFeatures(NamedTuple):
    """The features of one SAE on the bases of a sample.

    Attributes
    ----------
    features : Columns
        (n x d_sae).
    cutoffs : (T, d_sae) float32
        Ascending along T; a feature is active if its value is strictly greater.
    """

    features: Columns
    cutoffs: NDArray[np.float32]

    def cells(self, n: int) -> Cells:
        """As cells, for n bases."""
        return cells_of(self.features, self.cutoffs, n)


@dataclass(frozen=True, slots=True)
class ControlInputs:
    """What the controls need besides the sample: matrices, repeats, other models.

    Attributes
    ----------
    motifs : sequence of Motif
        Matrices of concepts, found by matrix ID: for decoys and the causal reference. Without them neither is run.
    p : float, optional
        The p-value at which a word is a site of the annotation, for the causal reference. None: it is not known, and
        the reference is not computed.
    decoys : int
        Number of column-shuffled matrices per motif.
    repeats : Annotation, optional
        Repeats by class.
    untrained : function, optional
        From the sample of the trained model to what untrained models give on it: kind and features of each.
    seeds : function, optional
        From a sample to the features of SAEs of other seeds on it.
    seed : int
        Of all random draws.
    """

    motifs: Sequence[Motif] = ()
    p: float | None = 1e-4
    decoys: int = 5
    repeats: Annotation | None = None
    untrained: Callable[[Sample], Sequence[tuple[Kind, SampledFeatures]]] | None = None
    seeds: Callable[[Sample], Sequence[SampledFeatures]] | None = None
    seed: int = 0


@dataclass(frozen=True)
class ControlData:
    """Reported pairs on a sample, and all that the controls of one read strand look at.

    Attributes
    ----------
    sample : Sample
    sites : Sites
        Of all concepts, with the labels of A, C, G and T.
    pairs : Pairs
        Those to be controlled.
    concepts : DataFrame
        ``concept`` and ``site_strand`` by number. The site strands of one name are one motif.
    instances : (C,) int64
        Instances of each concept on the REPORT half of the sample; of a nucleotide, bases.
    cutoffs : (T, d_sae) float32
        What each feature's value exceeds at each threshold.
    inputs : ControlInputs
    genome : Genome, optional
        Of the sample; only decoys need it.
    repeats : Columns, optional
        (n x classes): the bases in repeats of each class. None: not known.
    repeat_names : sequence of str
        Of the classes.
    """

    sample: Sample
    sites: Sites
    pairs: Pairs
    concepts: pd.DataFrame
    instances: NDArray[np.int64]
    cutoffs: NDArray[np.float32]
    inputs: ControlInputs
    genome: Genome | None = None
    repeats: Columns | None = None
    repeat_names: Sequence[str] = field(default=())

    @cached_property
    def reported(self) -> Reported:
        """The pairs on the readable bases of the REPORT half."""
        return Reported(self.sample, self.sites, self.pairs)

    def per_pair(self, table: pd.DataFrame) -> pd.DataFrame:
        """From one row per concept to one row per pair."""
        return table.iloc[self.pairs.concept].reset_index(drop=True)

    def best_of(self, other: SampledFeatures) -> Best:
        """The best feature of every concept among those of another SAE."""
        return best(other.cells(len(self.sample)), self.sites.labels, self.sample.half_of_base())


def run_controls(
    table: pd.DataFrame,
    evaluation: Evaluation,
    samples: Sequence[Sample],
    thresholds: ArrayLike,
    cutoffs: ArrayLike,
    inputs: ControlInputs,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare the best feature of every concept with other explanations, and give each match its verdict.

    Parameters
    ----------
    table : DataFrame
        Of `best_features`: one row per concept and site strand, at least one.
    evaluation : Evaluation
        Split into halves.
    samples : sequence of Sample
        One for each read strand in the table.
    thresholds : (T,) float64
        Ascending, those of the table among them.
    cutoffs : (T, d_sae) float32
        What each feature's value exceeds at each threshold.
    inputs : ControlInputs

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
        rows = cast(pd.DataFrame, table[table["read_strand"] == sample.read_strand])
        if len(rows):
            data = _data_of(rows, evaluation, sample, thresholds, cutoffs, inputs)
            parts.append(measure(data).set_index(rows.index))
            profiles.append(offset_profiles(sample, data.sites, data.pairs, data.concepts))
    controlled = table.drop(columns="verdict").join(pd.concat(parts))
    classes = _classes(cast(pd.Series, controlled["concept"]), inputs.motifs)
    controlled = controlled.join(verdicts(controlled)).join(classes)
    return controlled, pd.concat(profiles, ignore_index=True)


def measure(data: ControlData) -> pd.DataFrame:
    """All columns of the controls except the verdict, one row per pair: first the fit, then the tests, then the rest.

    See docs/formats.md for the columns. A test whose inputs are missing adds no columns, or NaN.
    """
    pairs, sample = data.pairs, data.sample
    log.info("controls: %d pairs on %s bases in %d bins", len(pairs), f"{len(sample):,}", len(sample.bins))
    fit = [f1_intervals(data.reported, data.inputs.seed), rankings(data.reported)]
    fit.append(pd.DataFrame({"lag": lags(data.reported)}))
    tests = [test.run(data) for test in TESTS]
    return pd.concat([*fit, *tests, *_other_columns(data, cast(pd.Series, fit[0]["sample_f1"]))], axis=1)


def _other_columns(data: ControlData, sample_f1: pd.Series) -> list[pd.DataFrame]:
    """Measurements that decide no verdict."""
    sample, sites = data.sample, data.sites
    margins = selectivity(data.reported, motif_clusters(sites, data.concepts))
    names = data.concepts["concept"].to_numpy(object)
    margins["next_concept"] = [names[c] if c >= 0 else "" for c in margins["next_concept"]]
    random = best_random_features(sample, sites, data.inputs.seed)
    columns = [pd.DataFrame({"lm_probe_f1": probe_neurons(sample, sites), "random_sae_f1": random})]
    if data.inputs.seeds:
        f1 = np.array([data.best_of(other).f1 for other in data.inputs.seeds(sample)])
        columns.append(pd.DataFrame({"seeds_f1_min": f1.min(axis=0), "seeds_f1_max": f1.max(axis=0)}))
    causal = np.full(len(data.concepts), np.nan)
    if data.inputs.p is not None:
        along = oriented_motifs(data.inputs.motifs, data.concepts, data.pairs)
        causal = causal_reference(sample, sites, along, p=data.inputs.p)
    causal = causal[data.pairs.concept]
    memorised = pd.arrays.BooleanArray(sample_f1.to_numpy() > causal, np.isnan(causal))
    reference = pd.DataFrame({"causal_ref_f1": causal, "memorised": memorised})
    return [margins, *map(data.per_pair, columns), reference]


def untrained_scores(data: ControlData) -> pd.DataFrame:
    """F1 of the best feature of untrained models, one row per concept; no column if there are no such models."""
    scores: dict[str, list[NDArray]] = {}
    for kind, features in data.inputs.untrained(data.sample) if data.inputs.untrained else ():
        scores.setdefault(UNTRAINED[kind], []).append(data.best_of(features).f1)
    return pd.DataFrame({name: np.fmax.reduce(f1) for name, f1 in scores.items()}, index=range(len(data.concepts)))


def _data_of(
    rows: pd.DataFrame,
    evaluation: Evaluation,
    sample: Sample,
    thresholds: NDArray[np.float64],
    cutoffs: NDArray[np.float32],
    inputs: ControlInputs,
) -> ControlData:
    """The data of the controls of one read strand; the rows of the table become its pairs, in order."""
    concepts, annotated = evaluation.labels.concepts, evaluation.labels.annotation.sites
    sites = label_sites(sample, annotated, concepts)
    name, strand = (cast(pd.Series, annotated[key]).astype(str) for key in ("Name", "Strand"))
    number = numbers_of(concepts, name, strand)
    instances = instances_in(sample, REPORT, annotated, number, len(concepts))
    counted = sample.in_half(REPORT)
    bases = len(NUCLEOTIDES)
    instances[:bases] = [np.count_nonzero(counted[sites.labels[i][0]]) for i in range(bases)]
    repeats, names = _repeat_columns(sample, inputs.repeats)
    pairs = _pairs_of(rows, concepts, cutoffs, thresholds)
    genome = evaluation.genome
    return ControlData(sample, sites, pairs, concepts, instances, cutoffs, inputs, genome, repeats, names)


def _pairs_of(
    rows: pd.DataFrame, concepts: pd.DataFrame, cutoffs: NDArray[np.float32], thresholds: NDArray[np.float64]
) -> Pairs:
    """Rows of a table as pairs."""
    concept = numbers_of(concepts, cast(pd.Series, rows["concept"]), cast(pd.Series, rows["site_strand"]))
    feature = rows["feature"].str[1:].to_numpy(np.int64)
    step = np.searchsorted(thresholds, rows["threshold"])
    return Pairs(concept, feature, cutoffs[step, feature])


def _repeat_columns(sample: Sample, repeats: Annotation | None) -> tuple[Columns | None, list[str]]:
    """Bases in repeats by class, and the names of the classes."""
    if repeats is None:
        return None, []
    name = repeats.sites["Name"].astype("category").cat
    return cover(sample, repeats.sites, name.codes.to_numpy(np.int64), len(name.categories)), list(name.categories)


def oriented_motifs(motifs: Sequence[Motif], concepts: pd.DataFrame, pairs: Pairs) -> dict[int, Motif]:
    """The matrix of each reported concept, by its number, as its sites lie along the forward strand.

    Concepts without a matrix or without a site strand are left out.
    """
    by_id = {motif.matrix_id: motif for motif in motifs}
    turned = {"+": lambda motif: motif, "-": Motif.reverse_complement}
    named = concepts.iloc[np.unique(pairs.concept)]
    return {
        number: turned[row.site_strand](by_id[row.concept])
        for number, row in zip(named.index, named.itertuples())
        if row.concept in by_id and row.site_strand in turned
    }


def _classes(concept: pd.Series, motifs: Sequence[Motif]) -> pd.DataFrame:
    """Class and family of the transcription factor of every row, "" if they are not known."""
    by_id = {motif.matrix_id: (motif.tf_class, motif.tf_family) for motif in motifs}
    found = [by_id.get(name, ("", "")) for name in concept]
    return pd.DataFrame(found, index=concept.index, columns=["tf_class", "tf_family"])
