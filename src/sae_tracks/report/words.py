"""Plain words: what a verdict means, with the numbers of the row in it."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sae_tracks.controls.verdict import LEAST_INSTANCES, MOST_Q, NOT_TESTED, SUPPORTED

Row = Mapping[str, Any]


class Control(NamedTuple):
    """Something else that may explain a match, measured on the same bases.

    Attributes
    ----------
    column : str
        Its F1.
    article, label : str
        As prose and the page have it: "the", "best k-mer".
    named : str
        Column that says which one it was, or "".
    verdict : str
        The verdict of a match whose interval it reaches; "" where it decides none.
    """

    column: str
    article: str
    label: str
    named: str = ""
    verdict: str = ""


CONTROLS = (
    Control("kmer_f1", "the", "best k-mer", "kmer", "sequence"),
    Control("probe_f1", "a", "probe on 31 letters", "", "sequence"),
    Control("untrained_f1", "an", "untrained model", "", "untrained"),
    Control("permuted_f1", "a", "model with permuted weights", "", "untrained"),
    Control("neuron_f1", "a", "single dimension of the model", "neuron", "neuron"),
    Control("lm_probe_f1", "a", "probe on all dimensions"),
    Control("random_sae_f1", "a", "random SAE"),
    Control("decoy_f1", "the", "best decoy motif"),
    Control("causal_ref_f1", "an", "ideal left-to-right reader"),
)

# Every verdict with its definition, the strongest first.
OUTCOMES = {
    SUPPORTED: "passed every test below",
    NOT_TESTED: "failed no test, but not all tests were run",
    "neuron": "a single dimension of the language model does as well",
    "untrained": "a language model that learned nothing does as well",
    "sequence": "a k-mer or a probe on 31 letters does as well",
    "repeat": "little of the match is left outside of repeats",
    "chance": "shuffled motifs, or shifted annotations, match as well",
    "low-power": f"fewer than {LEAST_INSTANCES} sites to judge by",
}
NAMES = {
    "untrained": "an untrained model",
    "neuron": "single dimensions",
    "repeat": "repeats",
    "sequence": "k-mers and probes",
}
NAMES |= {"chance": "decoys or shifts", "low-power": "the number of sites"}


def meaning(row: Row) -> str:
    """What a row of the table says, in one to four sentences.

    Parameters
    ----------
    row : mapping
        Of `load_scores`: every column is there, NaN or "" where it was not measured.
    """
    parts = [_VERDICTS[row["verdict"]](row)]
    if row["nucleotide"]:
        parts.append("A feature of a single letter proves little: untrained models have them too.")
    if row["memorised"] == 1:
        parts.append(
            f"The F1 is above the {_score(row['causal_ref_f1'])} that an ideal reader from left to right reaches "
            "without knowing what comes, so the surroundings of these sites, not the motif alone, are likely to be "
            "remembered."
        )
    return " ".join(parts)


def _supported(row: Row) -> str:
    f1, control = _best_other(row)
    best = f", where the best other explanation, {_named(row, control)}, reaches {_score(f1)}" if f1 >= 0 else ""
    marks = f"{_feature(row)} marks {_sites(row)} better than anything else that was tried: F1 {_interval(row)}{best}."
    sites = " Motif sites are places where a matrix scores well; whether a factor binds there is not shown."
    return marks + (sites if row["tf"] else "")


def _sites(row: Row) -> str:
    """A factor is named only in what is supported."""
    return f"{row['tf']} motif sites ({row['concept']})" if row["tf"] else row["concept"]


def _not_tested(row: Row) -> str:
    left = [NAMES.get(name, name) for name in row["untested"].split(",") if name]
    missing = f"These were not run: {', '.join(left)}" if left else "The tests were not run, or not all of them"
    says = f"F1 {_interval(row)} says nothing yet about what {_feature(row)} means."
    return f"{says} {missing}; a high F1 alone proves little."


def _low_power(row: Row) -> str:
    if row["instances"] >= LEAST_INSTANCES:
        return (
            f"Only {_count(row['sample_instances'])} of {_count(row['instances'])} sites lie on the bases that the "
            f"tests look at; below {LEAST_INSTANCES} they cannot tell what an F1 of {_score(row['f1'])} means."
        )
    return (
        f"Only {_count(row['instances'])} sites lie on the bases that were reported on; below {LEAST_INSTANCES} "
        f"an F1 of {_score(row['f1'])} may be luck. Score a longer region."
    )


def _chance(row: Row) -> str:
    if math.isnan(row["decoy_q"]):
        return (
            f"The annotation, shifted along the sequence, matches about as well (p = {_score(row['shift_p'])}, above "
            f"{MOST_Q:g}). The F1 of {_score(row['f1'])} is what chance gives."
        )
    return (
        f"Decoys, motifs with the same columns in another order, match some feature about as well (q = "
        f"{_score(row['decoy_q'])}, above {MOST_Q:g}). "
        f"The F1 of {_score(row['f1'])} is no evidence for {row['concept']}."
    )


def _repeat(row: Row) -> str:
    mostly = f", most of them in {row['repeat_class']}" if row["repeat_class"] else ""
    lies = f"{_percent(row['repeat_share'])} of the true positives lie in repeats{mostly}. "
    if math.isnan(row["f1_outside_repeats"]):
        left = (
            f"Outside of repeats lie too few sites ({_count(row['instances_outside_repeats'])}) to tell the two apart."
        )
    else:
        left = (
            f"Outside of repeats the F1 is {_score(row['f1_outside_repeats'])}, less than half of "
            f"{_score(_sample_f1(row))}: {_feature(row)} follows the repeat, not the motif that its copies hold."
        )
    return lies + left


def _reached(row: Row) -> str:
    """One of the controls that decide this verdict reaches the interval."""
    f1, control = _best_other(row, row["verdict"])
    name = _named(row, control)
    reaches = f"{name[:1].upper()}{name[1:]} reaches F1 {_score(f1)}; the feature's is {_interval(row)}."
    return f"{reaches} {_BECAUSE[row['verdict']]}"


_BECAUSE = {
    "sequence": "The letters nearby explain the match; it does not need a language model.",
    "untrained": "What the language model has learned is not needed for the match.",
    "neuron": "The match is there before the autoencoder, which adds nothing to it.",
}
_VERDICTS: dict[str, Callable[[Row], str]] = {
    SUPPORTED: _supported,
    NOT_TESTED: _not_tested,
    "low-power": _low_power,
    "chance": _chance,
    "repeat": _repeat,
    **dict.fromkeys(_BECAUSE, _reached),
}


def _best_other(row: Row, verdict: str = "") -> tuple[float, Control]:
    """The highest F1 of the controls that decide a verdict (of all that decide one), and its control."""
    deciding = [control for control in CONTROLS if control.verdict and verdict in ("", control.verdict)]
    return max((-1.0 if math.isnan(row[c.column]) else row[c.column], c) for c in deciding)


def _named(row: Row, control: Control) -> str:
    which = row[control.named] if control.named else ""
    return f"{control.article} {control.label}{f' ({which})' if which else ''}"


def _feature(row: Row) -> str:
    return f"f/{row['feature'].removeprefix('f')}"


def _sample_f1(row: Row) -> float:
    return row["f1"] if math.isnan(row["sample_f1"]) else row["sample_f1"]


def _interval(row: Row) -> str:
    """F1 with its interval, where there is one; both of the same bases."""
    if math.isnan(row["f1_low"]):
        return _score(row["f1"])
    return f"{_score(_sample_f1(row))} ({_score(row['f1_low'])} to {_score(row['f1_high'])})"


def _score(value: float) -> str:
    """Two digits after the point, or one that counts where it is smaller than that."""
    return (
        "unknown"
        if math.isnan(value) or value < 0
        else f"{value:.2f}"
        if value >= 0.005 or value <= 0
        else f"{value:.1g}"
    )


def _percent(value: float) -> str:
    return "An unknown share" if math.isnan(value) else f"{100 * value:.0f} %"


def _count(value: float) -> str:
    return "an unknown number" if math.isnan(value) else f"{value:,.0f}"
