"""The tests of a match, one row per test, and the verdict: the first test that the match fails.

A row of `TESTS` says how the test runs, which columns it adds, when a match fails it, and what tables, the report page
and messages call it. The verdict of a match, the columns of the table and the words of the page follow from the rows.
docs/methods.md describes the same tests. This file imports no model, so the pages that show verdicts start quickly.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.bed import MATRIX_ID
from sae_tracks.names import feature_label

if TYPE_CHECKING:
    from sae_tracks.controls.control import ControlData

Row = Mapping[str, Any]  # one match of the table, every column present: NaN or "" if it was not measured
LEAST_INSTANCES = 50
MOST_Q = 0.05
LEAST_OUTSIDE = 0.5  # of F1, on the bases outside of repeats
MOST_INSIDE = 0.5  # of the true positives, if too few instances lie outside for an F1
NOT_TESTED, SUPPORTED = "not-tested", "supported"


class Rival(NamedTuple):
    """Another explanation of a match, measured on the same bases."""

    column: str  # its F1
    article: str  # in prose and on the page: "the"
    label: str  # "best k-mer"
    named: str = ""  # the column that says which one it was
    verdict: str = ""  # of a match whose interval it reaches; "" if it decides none


RIVALS = (
    Rival("kmer_f1", "the", "best k-mer", "kmer", "sequence"),
    Rival("probe_f1", "a", "probe on 31 letters", "", "sequence"),
    Rival("untrained_f1", "an", "untrained model", "", "untrained"),
    Rival("permuted_f1", "a", "model with permuted weights", "", "untrained"),
    Rival("neuron_f1", "a", "single dimension of the model", "neuron", "neuron"),
    Rival("lm_probe_f1", "a", "probe on all dimensions"),
    Rival("random_sae_f1", "a", "random SAE"),
    Rival("decoy_f1", "the", "best decoy motif"),
    Rival("causal_ref_f1", "an", "ideal left-to-right reader"),
)


@dataclass(frozen=True, slots=True)
class Test:
    """One way for a match to be less than it seems."""

    __test__ = False  # not a test of pytest's

    name: str  # the verdict of a match that fails
    run: "Callable[[ControlData], pd.DataFrame]"  # gives the columns that the test adds, one row per pair
    columns: tuple[str, ...]  # the test has run on a row if one of these columns has a value
    fails: Callable[[pd.DataFrame], NDArray[np.bool_]]  # gives (n,) bool for the rows of the table
    meaning: str  # of the verdict, for the page
    short: str  # what the test compares with, for "These were not run: ..."
    sentence: Callable[[Row], str]  # about a row that failed, with its numbers
    also: tuple[str, ...] = ()  # other columns that `fails` looks at


def _run_low_power(data: "ControlData") -> pd.DataFrame:
    return pd.DataFrame({"sample_instances": data.instances[data.pairs.concept]})


def _few_instances(table: pd.DataFrame) -> NDArray[np.bool_]:
    return (table[["instances", "sample_instances"]].min(axis=1) < LEAST_INSTANCES).to_numpy()


def _say_low_power(row: Row) -> str:
    if row["instances"] >= LEAST_INSTANCES:
        return (
            f"Only {_count(row['sample_instances'])} of {_count(row['instances'])} sites lie on the tested bases. With "
            f"fewer than {LEAST_INSTANCES}, the tests cannot show what an F1 of {_score(row['f1'])} means."
        )
    return (
        f"Only {_count(row['instances'])} sites lie on the report half. With fewer than {LEAST_INSTANCES}, an F1 of "
        f"{_score(row['f1'])} may be luck. Score a longer region."
    )


def _run_chance(data: "ControlData") -> pd.DataFrame:
    from sae_tracks.controls.chance import decoy_scores, shift_p

    shifts = pd.DataFrame({"shift_p": shift_p(data.reported, data.inputs.seed)})
    return shifts.join(data.per_pair(decoy_scores(data))) if data.inputs.motifs else shifts


def _by_chance(table: pd.DataFrame) -> NDArray[np.bool_]:
    return (table["decoy_q"].fillna(table["shift_p"]) > MOST_Q).to_numpy()


def _say_chance(row: Row) -> str:
    if math.isnan(row["decoy_q"]):
        return (
            f"The annotation matches about as well after shifts along the sequence (p = {_score(row['shift_p'])}, "
            f"above {MOST_Q:g}). So chance explains the F1 of {_score(row['f1'])}."
        )
    return (
        f"Decoys, motifs with the same columns in another order, match some feature about as well (q = "
        f"{_score(row['decoy_q'])}, above {MOST_Q:g}). "
        f"The F1 of {_score(row['f1'])} is no evidence for {row['concept']}."
    )


def _run_repeat(data: "ControlData") -> pd.DataFrame:
    from sae_tracks.controls.specificity import in_repeats

    return in_repeats(data.reported, data.repeats, data.repeat_names)


def _mostly_inside(table: pd.DataFrame) -> NDArray[np.bool_]:
    """F1 falls outside of repeats. If too few instances lie outside for an F1, the share of true positives decides."""
    lower = table["f1_outside_repeats"] < LEAST_OUTSIDE * table["sample_f1"]
    inside = table["f1_outside_repeats"].isna() & (table["repeat_share"] >= MOST_INSIDE)
    return (lower | inside).to_numpy()


def _say_repeat(row: Row) -> str:
    mostly = f", most of them in {row['repeat_class']}" if row["repeat_class"] else ""
    lies = f"{_percent(row['repeat_share'])} of the true positives lie in repeats{mostly}. "
    if math.isnan(row["f1_outside_repeats"]):
        few = _count(row["instances_outside_repeats"])
        return f"{lies}Too few sites ({few}) lie outside of repeats to separate the concept from the repeat."
    outside = _score(row["f1_outside_repeats"])
    return (
        f"{lies}Outside of repeats the F1 is {outside}, less than half of {_score(_sample_f1(row))}. "
        f"So {feature_label(row['feature'])} follows the repeat, not the sites in its copies."
    )


def _run_sequence(data: "ControlData") -> pd.DataFrame:
    from sae_tracks.controls.baselines import best_kmers, probe_sequence

    words = best_kmers(data.sample, data.sites)[["kmer", "kmer_f1"]]
    return data.per_pair(words.assign(probe_f1=probe_sequence(data.sample, data.sites)))


def _run_untrained(data: "ControlData") -> pd.DataFrame:
    scores = pd.DataFrame(index=range(len(data.concepts)))
    for kind, cells in data.inputs.untrained(data.sample):
        name, f1 = {"random": "untrained_f1", "permuted": "permuted_f1"}[kind], data.best_of(cells).f1
        scores[name] = np.fmax(scores[name], f1) if name in scores else f1  # the best of the seeds
    return data.per_pair(scores)


def _run_neuron(data: "ControlData") -> pd.DataFrame:
    from sae_tracks.controls.baselines import best_neurons

    return data.per_pair(best_neurons(data.sample, data.sites))


def _reached(name: str, run: "Callable[[ControlData], pd.DataFrame]", meaning: str, short: str, because: str) -> Test:
    """A test that a match fails if one of the rivals of this verdict reaches the interval of its F1, or exceeds it."""
    columns = tuple(rival.column for rival in RIVALS if rival.verdict == name)

    def reaches(table: pd.DataFrame) -> NDArray[np.bool_]:
        return (table[list(columns)].max(axis=1) >= table["f1_low"]).to_numpy()

    def sentence(row: Row) -> str:
        f1, rival = _best_rival(row, name)
        says = _named(row, rival)
        return f"{says[:1].upper()}{says[1:]} reaches F1 {_score(f1)}; the feature's is {_interval(row)}. {because}"

    return Test(name, run, columns, reaches, meaning, short, sentence, also=("f1_low",))


TESTS = (
    Test(
        "low-power",
        run=_run_low_power,
        columns=("instances", "sample_instances"),
        fails=_few_instances,
        meaning=f"fewer than {LEAST_INSTANCES} sites, which is too few to judge",
        short="the number of sites",
        sentence=_say_low_power,
    ),
    Test(
        "chance",
        run=_run_chance,
        columns=("decoy_q", "shift_p"),
        fails=_by_chance,
        meaning="shuffled motifs, or shifted annotations, match as well",
        short="decoys or shifts",
        sentence=_say_chance,
    ),
    Test(
        "repeat",
        run=_run_repeat,
        columns=("repeat_share",),
        also=("f1_outside_repeats", "sample_f1"),
        fails=_mostly_inside,
        meaning="the match is weak outside of repeats",
        short="repeats",
        sentence=_say_repeat,
    ),
    _reached(
        "sequence",
        _run_sequence,
        meaning="a k-mer or a probe on 31 letters does as well",
        short="k-mers and probes",
        because="The nearby letters explain the match, so no language model is needed.",
    ),
    _reached(
        "untrained",
        _run_untrained,
        meaning="a language model that learned nothing does as well",
        short="an untrained model",
        because="The match needs nothing that the language model has learned.",
    ),
    _reached(
        "neuron",
        _run_neuron,
        meaning="a single dimension of the language model does as well",
        short="single dimensions",
        because="The match exists before the autoencoder, which adds nothing to it.",
    ),
)
BY_NAME = {test.name: test for test in TESTS}
TEXTS = (  # columns of text that controls add to the table
    *("tf_class", "tf_family", "untested", "repeat_class", "next_concept", "memorised"),
    *(rival.named for rival in RIVALS if rival.named),
)
OUTCOMES = {  # every verdict with its meaning, the strongest first
    SUPPORTED: "passed every test below",
    NOT_TESTED: "failed no test, but not all tests were run",
    **{test.name: test.meaning for test in reversed(TESTS)},
}


def is_motif(table: pd.DataFrame) -> NDArray[np.bool_]:
    """(n,) bool: which concepts are the sites of a matrix: they have a TF's name, or are one of JASPAR's matrix IDs.

    A shift moves such sites away from the sequence that made them. All of them pass it, so it says nothing about them.
    """
    named = [bool(tf) or bool(MATRIX_ID.match(name)) for tf, name in zip(table["tf"], table["concept"])]
    return np.array(named, bool)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The verdict of every row of reported pairs, and the tests that were not run on it.

    A column that the tests look at is NaN, or missing, if it was not measured; ``concept`` and ``tf`` are needed.

    Returns
    -------
    DataFrame
        ``verdict``: the first test that fails; else ``not-tested`` if a test has not run, else ``supported``.
        ``untested``: the names of the tests not run, joined by commas.
    """
    motif = is_motif(table)
    columns = {name for test in TESTS for name in (*test.columns, *test.also)}
    table = table.reindex(columns=sorted(columns)).astype(float)
    table["shift_p"] = table["shift_p"].mask(motif)
    verdict = np.full(len(table), "", object)
    untested = np.full(len(table), "", object)
    for test in TESTS:
        ran = cast(pd.DataFrame, table[list(test.columns)]).notna().any(axis=1).to_numpy()
        verdict[(verdict == "") & ran & test.fails(table)] = test.name
        untested[~ran] = [f"{before},{test.name}".lstrip(",") for before in untested[~ran]]
    verdict[verdict == ""] = np.where(untested[verdict == ""] == "", SUPPORTED, NOT_TESTED)
    return pd.DataFrame({"verdict": verdict, "untested": untested}, index=table.index)


def explain(row: Row) -> str:
    """Say in one to four sentences what a row of `load_scores` shows."""
    says = {SUPPORTED: _say_supported, NOT_TESTED: _say_not_tested}
    say = says.get(row["verdict"]) or BY_NAME[row["verdict"]].sentence
    sentences = [say(row)]
    if row["nucleotide"]:
        sentences.append("Features of single letters prove little: untrained models have them too.")
    if row["memorised"] == 1:
        sentences.append(
            f"The F1 is above the {_score(row['causal_ref_f1'])} of an ideal left-to-right reader, which does not know "
            "the next bases. So the model has probably memorised the surroundings of these sites, not only the motif."
        )
    return " ".join(sentences)


def _say_supported(row: Row) -> str:
    f1, rival = _best_rival(row)
    best = f". The best of the others, {_named(row, rival)}, reaches {_score(f1)}" if f1 >= 0 else ""
    # a factor is named only if the match is supported
    sites = f"{row['tf']} motif sites ({row['concept']})" if row["tf"] else row["concept"]
    feature = feature_label(row["feature"])
    marks = f"{feature} marks {sites} better than every other explanation that was tried: F1 {_interval(row)}{best}."
    binds = " A motif site is a place with a high score of the matrix. It does not show that the factor binds there."
    return marks + (binds if row["tf"] else "")


def _say_not_tested(row: Row) -> str:
    left = [BY_NAME[name].short if name in BY_NAME else name for name in row["untested"].split(",") if name]
    missing = f"These tests were not run: {', '.join(left)}." if left else "Not all tests were run."
    feature = feature_label(row["feature"])
    return f"What {feature} means is not known yet: a high F1 alone, {_interval(row)}, proves little. {missing}"


def _best_rival(row: Row, verdict: str = "") -> tuple[float, Rival]:
    """The highest F1 of the rivals that decide a verdict (any verdict by default), and its rival."""
    deciding = [rival for rival in RIVALS if rival.verdict and verdict in ("", rival.verdict)]
    return max((-1.0 if math.isnan(row[rival.column]) else row[rival.column], rival) for rival in deciding)


def _named(row: Row, rival: Rival) -> str:
    which = row[rival.named] if rival.named else ""
    return f"{rival.article} {rival.label}{f' ({which})' if which else ''}"


def _sample_f1(row: Row) -> float:
    return row["f1"] if math.isnan(row["sample_f1"]) else row["sample_f1"]


def _interval(row: Row) -> str:
    """F1 with its interval, if there is one; both of the same bases."""
    if math.isnan(row["f1_low"]):
        return _score(row["f1"])
    return f"{_score(_sample_f1(row))} ({_score(row['f1_low'])} to {_score(row['f1_high'])})"


def _score(value: float) -> str:
    """Two decimals; one significant digit if the value is smaller than that."""
    if math.isnan(value) or value < 0:
        return "unknown"
    return f"{value:.2f}" if value >= 0.005 or value <= 0 else f"{value:.1g}"


def _percent(value: float) -> str:
    return "An unknown share" if math.isnan(value) else f"{100 * value:.0f} %"


def _count(value: float) -> str:
    return "an unknown number" if math.isnan(value) else f"{value:,.0f}"
