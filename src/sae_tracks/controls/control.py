"""Every control of the reported pairs, in one table that ends in a verdict."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sae_tracks.annotations import Annotation
from sae_tracks.controls.baselines import best_random_features, causal_reference, probe_neurons
from sae_tracks.controls.best import Best, Cells, best
from sae_tracks.controls.fit import f1_intervals, lags, offset_profiles, rankings
from sae_tracks.controls.pairs import Pairs, Reported
from sae_tracks.controls.sample import REPORT, Columns, Sample, Sites, cover, instances_in, label_sites, numbers_of
from sae_tracks.controls.specificity import motif_clusters, selectivity
from sae_tracks.controls.verdict import TESTS, verdicts
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.genome import Genome
from sae_tracks.lm.untrained import Kind
from sae_tracks.metrics import Evaluation
from sae_tracks.motifs import Motif

log = logging.getLogger(__name__)


def no_models(sample: Sample) -> tuple[()]:
    """There are no other models."""
    return ()


@dataclass(frozen=True, slots=True)
class ControlInputs:
    """What the controls need besides the sample: matrices, repeats, other models.

    Each of the two functions gets the sample of the trained model and gives the features of other models on it, one
    model after the other: `untrained` of untrained language models, `seeds` of SAEs of other seeds.
    """

    motifs: Sequence[Motif] = ()  # by matrix ID: for decoys and the causal reference
    p: float | None = 1e-4  # at which a word is a site, for the causal reference; None: unknown, so it is not computed
    decoys: int = 5  # per motif
    repeats: Annotation | None = None  # by class
    untrained: Callable[[Sample], Iterable[tuple[Kind, Cells]]] = no_models
    seeds: Callable[[Sample], Iterable[Cells]] = no_models
    seed: int = 0  # of all random draws


@dataclass(frozen=True)
class ControlData:
    """Reported pairs on a sample, and all that the controls of one read strand look at; of C concepts."""

    sample: Sample
    sites: Sites  # of all concepts, with the labels of A, C, G and T
    pairs: Pairs
    concepts: pd.DataFrame  # concept and site_strand by number; the site strands of one name are one motif
    instances: NDArray[np.int64]  # of each concept on the REPORT half of the sample; of a nucleotide, bases
    cutoffs: NDArray[np.float32]  # (T, d_sae): what each feature's value exceeds at each threshold
    inputs: ControlInputs
    genome: Genome | None = None  # of the sample; only decoys need it
    repeats: Columns | None = None  # (n x classes): the bases in repeats of each class; None: not known
    repeat_names: Sequence[str] = ()  # of the classes

    @cached_property
    def reported(self) -> Reported:
        """The pairs on the readable bases of the REPORT half."""
        return Reported(self.sample, self.sites, self.pairs)

    def per_pair(self, table: pd.DataFrame) -> pd.DataFrame:
        """From one row per concept to one row per pair."""
        return table.iloc[self.pairs.concept].reset_index(drop=True)

    def best_of(self, cells: Cells) -> Best:
        """The best feature of every concept among those of another model."""
        return best(cells, self.sites.labels, self.sample.half_of_base())


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
        From `best_features`: one row per concept and site strand, at least one.
    evaluation : Evaluation
        Split into halves.
    samples : sequence of Sample
        One per read strand in the table.
    thresholds : (T,) float64
        Ascending, those of the table among them.
    cutoffs : (T, d_sae) float32
        What each feature's value exceeds at each threshold.

    Returns
    -------
    controlled : DataFrame
        The rows of the table, in order, with the columns of docs/formats.md and a new `verdict`.
    offsets : DataFrame
        See `offset_profiles`.
    """
    thresholds, cutoffs = np.asarray(thresholds, np.float64), np.asarray(cutoffs, np.float32)
    measured, profiles = [], []
    for sample in samples:
        rows = cast(pd.DataFrame, table[table["read_strand"] == sample.read_strand])
        if len(rows):
            data = _data_of(rows, evaluation, sample, thresholds, cutoffs, inputs)
            measured.append(measure(data).set_index(rows.index))
            profiles.append(offset_profiles(data.reported, data.concepts))
    controlled = table.drop(columns="verdict").join(pd.concat(measured))
    by_id = {motif.matrix_id: (motif.tf_class, motif.tf_family) for motif in inputs.motifs}
    classes = [by_id.get(name, ("", "")) for name in controlled["concept"]]
    classes = pd.DataFrame(classes, controlled.index, ["tf_class", "tf_family"])
    return controlled.join(verdicts(controlled)).join(classes), pd.concat(profiles, ignore_index=True)


def measure(data: ControlData) -> pd.DataFrame:
    """All columns of the controls except the verdict, one row per pair: first the fit, then the tests, then the rest.

    See docs/formats.md for the columns. A test whose inputs are missing adds no columns, or NaN.
    """
    reported, sample = data.reported, data.sample
    log.info("controls: %d pairs on %s bases in %d bins", len(data.pairs), f"{len(sample):,}", len(sample.bins))
    fit = [f1_intervals(reported, data.inputs.seed), rankings(reported), pd.DataFrame({"lag": lags(reported)})]
    tests = [test.run(data) for test in TESTS]
    return pd.concat([*fit, *tests, *_other_columns(data, cast(pd.Series, fit[0]["sample_f1"]))], axis=1)


def _other_columns(data: ControlData, sample_f1: pd.Series) -> list[pd.DataFrame]:
    """Measurements that decide no verdict."""
    sample, sites, inputs = data.sample, data.sites, data.inputs
    margins = selectivity(data.reported, motif_clusters(sites, data.concepts))
    names = data.concepts["concept"].to_numpy(object)
    margins["next_concept"] = [names[c] if c >= 0 else "" for c in margins["next_concept"]]
    random = best_random_features(sample, sites, inputs.seed)
    others = pd.DataFrame({"lm_probe_f1": probe_neurons(sample, sites), "random_sae_f1": random})
    if seeds := [data.best_of(cells).f1 for cells in inputs.seeds(sample)]:
        others = others.assign(seeds_f1_min=np.min(seeds, axis=0), seeds_f1_max=np.max(seeds, axis=0))
    causal = np.full(len(data.concepts), np.nan)
    if inputs.p is not None:
        along = oriented_motifs(inputs.motifs, data.concepts, data.pairs)
        causal = causal_reference(sample, sites, along, p=inputs.p)
    causal = causal[data.pairs.concept]
    memorised = pd.arrays.BooleanArray(sample_f1.to_numpy() > causal, np.isnan(causal))
    return [margins, data.per_pair(others), pd.DataFrame({"causal_ref_f1": causal, "memorised": memorised})]


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
    number = numbers_of(concepts, annotated["Name"], annotated["Strand"])
    instances = instances_in(sample, REPORT, annotated, number, len(concepts))
    counted = sample.in_half(REPORT)
    bases = len(NUCLEOTIDES)
    instances[:bases] = [np.count_nonzero(counted[sites.labels[i][0]]) for i in range(bases)]
    feature = rows["feature"].str[1:].to_numpy(np.int64)
    cutoff = cutoffs[np.searchsorted(thresholds, rows["threshold"]), feature]
    pairs = Pairs(numbers_of(concepts, rows["concept"], rows["site_strand"]), feature, cutoff)
    data = ControlData(sample, sites, pairs, concepts, instances, cutoffs, inputs, evaluation.genome)
    if inputs.repeats is None:
        return data
    name = inputs.repeats.sites["Name"].astype("category").cat
    repeats = cover(sample, inputs.repeats.sites, name.codes.to_numpy(np.int64), len(name.categories))
    return replace(data, repeats=repeats, repeat_names=list(name.categories))


def oriented_motifs(motifs: Sequence[Motif], concepts: pd.DataFrame, pairs: Pairs) -> dict[int, Motif]:
    """The matrix of each reported concept, by its number, as its sites lie along the forward strand.

    Concepts without a matrix or without a site strand are left out.
    """
    by_id = {motif.matrix_id: motif for motif in motifs}
    found = {}
    for row in concepts.iloc[np.unique(pairs.concept)].itertuples():
        if row.concept in by_id and row.site_strand in ("+", "-"):
            motif = by_id[row.concept]
            found[row.Index] = motif if row.site_strand == "+" else motif.reverse_complement()
    return found
