"""The tests of a match, one row per test, and the verdict: the first test that the match fails.

A row of `TESTS` says which columns a test looks at, when a match fails it, and what tables, the report page and
messages call it. The verdict of a match, the columns of the table and the words of the page follow from the rows.
docs/methods.md describes the same tests. This file imports no model, so the pages that show verdicts start quickly.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations.bed import MATRIX_ID
from sae_tracks.dna import NUCLEOTIDES
from sae_tracks.names import feature_label

Row = Mapping[str, Any]  # one match of the table, every column present: NaN or "" if it was not measured
LEAST_INSTANCES = 50
MOST_Q = 0.05
LEAST_OUTSIDE = 0.5  # of the AP inside of repeats
MOST_INSIDE = 0.5  # of the sites that are hit, if too few sites lie outside for an AP
COIN = 0.5  # AUROC of a coin
INSERTED = 0.6  # the highest AUROC of an insertion that does as good as nothing
DESCRIBES = 1 / 3  # the least F1 of a word whose places describe where a feature is active
NOT_TESTED, SUPPORTED, LOW_POWER = "not-tested", "supported", "low-power"
UNKNOWN = "unknown"


class Rival(NamedTuple):
    """Another explanation of a match, measured on the same items and windows."""

    name: str  # of its columns: average precision in ``{name}_ap``, F1 per base in ``{name}_f1``
    article: str  # in prose and on the page: "the"
    label: str  # "best k-mer"
    short: str = ""  # in the column ``best_rival``: "k-mer"
    named: str = ""  # the column that says which one it was
    verdicts: tuple[str, ...] = ()  # that it decides; () if it decides none

    @property
    def ap(self) -> str:
        """The column of its average precision."""
        return f"{self.name}_ap"

    @property
    def f1(self) -> str:
        """The column of its F1."""
        return f"{self.name}_f1"


RIVALS = (
    Rival("kmer", "the", "best k-mer", "k-mer", "kmer", ("word", "local-sequence")),
    Rival("probe", "a", "probe on 31 letters", "probe on 31 letters", "", ("local-sequence",)),
    Rival("untrained", "an", "untrained model", "untrained", "", ("untrained",)),
    Rival("permuted", "a", "model with permuted weights", "permuted weights", "", ("untrained",)),
    Rival("dimension", "a", "single dimension of the model", "dimension", "dimension", ("dimension",)),
    Rival("random_sae", "a", "random SAE"),
    Rival("decoy", "the", "best decoy motif"),
    Rival("causal_ref", "an", "ideal left-to-right reader"),
)


@dataclass(frozen=True, slots=True)
class Test:
    """One way for a match to be less than it seems."""

    __test__ = False  # not a test of pytest's

    name: str  # the verdict of a match that fails
    columns: tuple[str, ...]  # the test has run on a row if one of these columns has a value
    fails: Callable[[pd.DataFrame], NDArray[np.bool_]]  # gives (n,) bool for the rows of the table
    meaning: str  # of the verdict, for the page
    short: str  # what the test compares with, for "These were not run: ..."
    sentence: Callable[[Row], str]  # about a row that failed, with its numbers
    also: tuple[str, ...] = ()  # other columns that `fails` looks at
    needs: tuple[str, ...] = ()  # of these and of `also`: columns without which the test has not run
    motifs: bool | None = None  # whether it is for motifs alone, or for other concepts alone; None: for all
    optional: bool = False  # a match may be supported without it


def _few_instances(table: pd.DataFrame) -> NDArray[np.bool_]:
    return (table["instances"] < LEAST_INSTANCES).to_numpy()


def _say_low_power(row: Row) -> str:
    return (
        f"Only {_count(row['instances'])} sites lie on the report half. With fewer than {LEAST_INSTANCES}, an F1 of "
        f"{_score(row['f1'])} may be luck. Score a longer region."
    )


def _by_chance(table: pd.DataFrame) -> NDArray[np.bool_]:
    return (table["decoy_q"].fillna(table["regions_q"]) > MOST_Q).to_numpy()


def _say_chance(row: Row) -> str:
    ap = f"the average precision of {_score(row['site_average_precision'])}"
    if _of_matrix(row["tf"], row["concept"]):
        return (
            f"The best features of {_count(row['decoys'])} decoys, motifs with exchanged letters, reach "
            f"{_score(row['decoy_ap'])} (q = {_score(row['decoy_q'])}, above {MOST_Q:g}). "
            f"So {ap} is no evidence for {row['concept']}."
        )
    return (
        f"Regions of like composition (p = {_score(row['regions_p'])}) or the sites after shifts along the sequence "
        f"(p = {_score(row['shift_p'])}) match about as well: q = {_score(row['regions_q'])}, above {MOST_Q:g}. "
        f"So chance explains {ap}."
    )


def _mostly_inside(table: pd.DataFrame) -> NDArray[np.bool_]:
    """The AP falls outside of repeats. If too few sites lie outside for an AP, the share of the sites hit decides."""
    lower = table["ap_outside_high"] < LEAST_OUTSIDE * table["ap_inside_repeats"]
    inside = table["ap_outside_repeats"].isna() & (table["repeat_share"] >= MOST_INSIDE)
    return (lower | inside).to_numpy()


def _say_repeat(row: Row) -> str:
    mostly = f", most of them in {row['repeat_class']}" if row["repeat_class"] else ""
    lies = f"{_percent(row['repeat_share'])} of the sites that are hit lie in repeats{mostly}. "
    if math.isnan(row["ap_outside_repeats"]):
        few = _count(row["items_outside_repeats"])
        return f"{lies}Too few sites ({few}) lie outside of repeats to separate the concept from the repeat."
    outside = f"{_score(row['ap_outside_repeats'])} (at most {_score(row['ap_outside_high'])})"
    return (
        f"{lies}Outside of repeats the average precision is {outside}, less than half of the "
        f"{_score(row['ap_inside_repeats'])} inside. So {feature_label(row['feature'])} follows the repeat, not the "
        "sites in its copies."
    )


def _no_more_than_a_word(table: pd.DataFrame) -> NDArray[np.bool_]:
    """It adds nothing to a word that does as well. What chance explains is called so, unless a word describes it."""
    chance = (table["decoy_q"] > MOST_Q) & ~(table["feature_kmer_f1"] >= DESCRIBES)
    explained = (table["kmer_ap"] >= table["site_ap_low"]) | (table["feature_kmer_f1"] >= DESCRIBES)
    return ((table["word_auroc_low"] <= COIN) & explained & ~chance).to_numpy()


def _say_word(row: Row) -> str:
    words = f"{row['kmer'] or 'its best word'}, the word of up to six letters that fits the sites best,"
    if row["feature_kmer_f1"] >= DESCRIBES and row["feature_kmer"] != row["kmer"]:
        words = f"{words} or of {row['feature_kmer']}, that describes the feature,"
    return (
        f"Among the places of {words} the feature does not tell the sites of the motif from the rest: AUROC "
        f"{_between(row, 'word_auroc', 'word_auroc')}, where {COIN:g} is a coin. So the word explains the match, and "
        f"nothing shows that {feature_label(row['feature'])} knows more of the motif."
    )


def _not_by_the_motif(table: pd.DataFrame) -> NDArray[np.bool_]:
    return (table["insertion_high"] <= INSERTED).to_numpy()


def _say_context(row: Row) -> str:
    return (
        f"Words of the motif that are put into other sequence hardly raise {feature_label(row['feature'])} more than "
        f"words of its decoys do: AUROC {_between(row, 'insertion_auroc', 'insertion')}, where {COIN:g} is a coin. So "
        "the feature follows what usually stands beside the sites."
    )


def _reached(
    name: str, meaning: str, short: str, because: str, *, also: tuple[str, ...] = (), motifs: bool | None = None
) -> Test:
    """A test that a match fails if a rival of this verdict reaches the interval of its average precision.

    It has run if one of the rivals was measured that are not in `also`.
    """
    rivals = tuple(rival.ap for rival in RIVALS if name in rival.verdicts)
    columns = tuple(rival for rival in rivals if rival not in also)

    def reaches(table: pd.DataFrame) -> NDArray[np.bool_]:
        return (table[list(rivals)].max(axis=1) >= table["site_ap_low"]).to_numpy()

    def sentence(row: Row) -> str:
        ap, rival = _best_rival(row, name)
        says, own = _named(row, rival), _between(row, "site_average_precision", "site_ap")
        reaches = f"reaches an average precision of {_score(ap)}; the feature's is {own}"
        return f"{says[:1].upper()}{says[1:]} {reaches}. {because}"

    return Test(name, columns, reaches, meaning, short, sentence, also, needs=("site_ap_low",), motifs=motifs)


TESTS = (
    Test(
        LOW_POWER,
        columns=("instances",),
        fails=_few_instances,
        meaning=f"fewer than {LEAST_INSTANCES} sites, which is too few to judge",
        short="the number of sites",
        sentence=_say_low_power,
    ),
    Test(
        "word",
        columns=("word_auroc_low",),
        also=("decoy_q", "feature_kmer_f1", "kmer_ap", "site_ap_low"),
        fails=_no_more_than_a_word,
        meaning="a word of up to six letters explains it",
        short="the best word",
        sentence=_say_word,
        motifs=True,
    ),
    Test(
        "repeat",
        columns=("repeat_share", "ap_outside_repeats"),
        also=("ap_inside_repeats", "ap_outside_high"),
        fails=_mostly_inside,
        meaning="the match is weak outside of repeats",
        short="repeats",
        sentence=_say_repeat,
    ),
    Test(
        "chance",
        columns=("decoy_q", "regions_q"),
        fails=_by_chance,
        meaning="decoy motifs, or regions of like composition, match as well",
        short="decoys or matched regions",
        sentence=_say_chance,
    ),
    Test(
        "context",
        columns=("insertion_high",),
        fails=_not_by_the_motif,
        meaning="the motif alone, put into other sequence, does not raise the feature",
        short="insertion of the motif",
        sentence=_say_context,
        motifs=True,
        optional=True,
    ),
    _reached(
        "local-sequence",
        meaning="a k-mer or a probe on 31 letters does as well",
        short="the nearby letters",
        because="The nearby letters explain the match, so no language model is needed.",
        also=("kmer_ap",),
        motifs=False,
    ),
    _reached(
        "untrained",
        meaning="a language model that learned nothing does as well",
        short="an untrained model",
        because="The match needs nothing that the language model has learned.",
    ),
    _reached(
        "dimension",
        meaning="a single dimension of the language model does as well",
        short="single dimensions",
        because="The match exists before the autoencoder, which adds nothing to it.",
    ),
)
BY_NAME = {test.name: test for test in TESTS}
FLAGS = ("memorised", "decoy_win")  # True, False or empty
TEXTS = (  # columns of text that controls add to the table
    *("tf_class", "tf_family", "untested", "why_untested", "repeat_class", "next_concept", "best_rival"),
    *("feature_kmer", *FLAGS),
    *(rival.named for rival in RIVALS if rival.named),
)


def outcomes(tests: Sequence[Test]) -> dict[str, str]:
    """Every verdict of a registry with its meaning, the strongest first."""
    return {
        SUPPORTED: "passed every test below",
        NOT_TESTED: "failed no test, but not all tests were run",
        **{test.name: test.meaning for test in reversed(tests)},
    }


OUTCOMES = outcomes(TESTS)


def is_motif(table: pd.DataFrame) -> NDArray[np.bool_]:
    """(n,) bool: which concepts are the sites of a matrix: they have a TF's name, or are one of JASPAR's matrix IDs.

    Matched and shifted regions do not have the words that made such sites, so they say nothing about them.
    """
    return np.array([_of_matrix(tf, name) for tf, name in zip(table["tf"], table["concept"])], bool)


def _of_matrix(tf: str, concept: str) -> bool:
    return bool(tf) or bool(MATRIX_ID.match(concept))


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The verdict of every row of reported pairs, and the tests that were not run on it.

    A column that the tests look at is NaN, or missing, if it was not measured; ``concept`` and ``tf`` are needed.

    Returns
    -------
    DataFrame
        ``verdict``: the first test that fails; else ``not-tested`` if a test has not run, else ``supported``.
        ``untested``: the names of the tests not run, joined by commas. ``why_untested``: why a test that was measured
        could decide nothing, or "".
    """
    motif = is_motif(table)
    why = _why_untested(table, motif)
    table = _numbers(table, _columns(TESTS))
    table["regions_q"] = table["regions_q"].mask(motif | (why != ""))
    table["decoy_q"] = table["decoy_q"].mask(~motif | (why != ""))
    return first_failed(table, TESTS, motif).assign(why_untested=why)


def first_failed(table: pd.DataFrame, tests: Sequence[Test], motif: NDArray[np.bool_] | None = None) -> pd.DataFrame:
    """The verdict of every row by the tests of a registry, in their order.

    Parameters
    ----------
    table : DataFrame
        n rows. A column that the tests look at is NaN, or missing, if it was not measured.
    tests : sequence of Test
        The registry.
    motif : (n,) bool, optional
        Which rows are of motifs, if some tests are for these alone or for the others.

    Returns
    -------
    DataFrame
        ``verdict``: the first test that fails; else ``not-tested`` if a test has not run, else ``supported``.
        ``untested``: the names of the tests not run, joined by commas.
    """
    numbers = _numbers(table, _columns(tests))
    verdict = np.full(len(table), "", object)
    untested = np.full(len(table), "", object)
    for test in tests:
        meant = np.full(len(table), True) if test.motifs is None or motif is None else motif == test.motifs
        ran = meant & cast(pd.DataFrame, numbers[list(test.columns)]).notna().any(axis=1).to_numpy()
        ran &= cast(pd.DataFrame, numbers[list(test.needs)]).notna().all(axis=1).to_numpy()
        verdict[(verdict == "") & meant & test.fails(numbers)] = test.name
        left = meant & ~ran & (not test.optional)
        untested[left] = [f"{before},{test.name}".lstrip(",") for before in untested[left]]
    verdict[verdict == ""] = np.where(untested[verdict == ""] == "", SUPPORTED, NOT_TESTED)
    return pd.DataFrame({"verdict": verdict, "untested": untested}, index=table.index)


def _columns(tests: Sequence[Test]) -> list[str]:
    """All columns that tests look at."""
    return [name for test in tests for name in (*test.columns, *test.also, *test.needs)]


def strength(table: pd.DataFrame) -> pd.DataFrame:
    """How far every row is above its best rival, whatever its verdict.

    The table is as for `verdicts`.

    Returns
    -------
    DataFrame
        ``best_rival``: the rival with the highest average precision of those that decide a verdict, ``k-mer TTACCCG``,
        or "" if none was measured. ``effect``: the feature's average precision minus the rival's; ``effect_low`` and
        ``effect_high``: the same from the ends of the feature's interval. NaN if either is not known.
    """
    deciding = [rival for rival in RIVALS if rival.verdicts]
    own = ("site_average_precision", "site_ap_low", "site_ap_high")
    numbers = _numbers(table, [*own, *(rival.ap for rival in deciding)])
    aps = numbers[[rival.ap for rival in deciding]].to_numpy(np.float64)
    best = np.where(np.isnan(aps), -np.inf, aps).argmax(axis=1)
    highest = aps[np.arange(len(aps)), best]
    names = []
    for row, number, ap in zip(table.to_dict("records"), best, highest):
        rival = deciding[number]
        which = row.get(rival.named) if rival.named else ""
        names.append(
            "" if np.isnan(ap) else f"{rival.short} {which}" if isinstance(which, str) and which else rival.short
        )
    effects = {name: numbers[of] - highest for name, of in zip(("effect", "effect_low", "effect_high"), own)}
    return pd.DataFrame({"best_rival": np.array(names, object), **effects}, index=table.index)


def _numbers(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Columns as float64, NaN if they are missing."""
    numbers = table.reindex(columns=sorted(set(columns))).apply(pd.to_numeric, errors="coerce")
    return cast(pd.DataFrame, numbers.astype(np.float64))


def _why_untested(table: pd.DataFrame, motif: NDArray[np.bool_]) -> NDArray[np.object_]:
    """(n,) str: why chance cannot be tested, if it is not that nothing was compared; else ""."""
    numbers = _numbers(table, ["decoys", "decoy_q", "least_q", "regions"])
    columns = (numbers[name] for name in ("decoys", "decoy_q", "least_q", "regions"))
    rows = zip(table["concept"], motif, *columns)
    return np.array([_why_chance(*row) for row in rows], object)


def _why_chance(concept: str, motif: bool, decoys: float, q: float, least: float, regions: float) -> str:
    if concept in set(NUCLEOTIDES):
        return "chance: nothing else is like a single letter"
    if not motif:
        return f"chance: only {_count(regions)} instances have regions like them" if regions < LEAST_INSTANCES else ""
    if least > MOST_Q:  # even the best match of the run would not be below the bound
        return f"chance: with {_count(decoys)} decoys the least q is {_score(least)}"
    if not math.isnan(decoys) and math.isnan(q):
        return f"chance: too few decoys ({_count(decoys)})"
    return ""


def explain(row: Row) -> str:
    """Say in a few sentences what a row of `load_scores` shows."""
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
    # a factor is named only if the match is supported
    sites = f"{row['tf']} motif sites ({row['concept']})" if row["tf"] else row["concept"]
    own = _between(row, "site_average_precision", "site_ap")
    above = ""
    if row["best_rival"]:
        above = f", {_between(row, 'effect', 'effect')} above the best of the others ({row['best_rival']})"
    binds = " A motif site is a place with a high score of the matrix. It does not show that the factor binds there."
    return (
        f"Supported at recall {_score(row['recall_at_half'])}: at a precision of at least 0.5, "
        f"{feature_label(row['feature'])} finds this share of {sites}. "
        f"It is active on {_percent(row['site_share']).lower()} of them at the chosen cut-off. "
        f"Its average precision is {own}{above}.{binds if row['tf'] else ''}"
    )


def _say_not_tested(row: Row) -> str:
    left = [BY_NAME[name].short if name in BY_NAME else name for name in row["untested"].split(",") if name]
    missing = f"These tests were not run: {', '.join(left)}." if left else "Not all tests were run."
    why = f" ({row['why_untested']})" if row["why_untested"] else ""
    own = _between(row, "site_average_precision", "site_ap")
    score = f"a high F1 alone, {_score(row['f1'])}" if own == UNKNOWN else f"a high average precision alone, {own}"
    feature = feature_label(row["feature"])
    return f"What {feature} means is not known yet: {score}, proves little. {missing.rstrip('.')}{why}."


def _best_rival(row: Row, verdict: str) -> tuple[float, Rival]:
    """The highest average precision of the rivals that decide a verdict, and its rival."""
    deciding = [rival for rival in RIVALS if verdict in rival.verdicts]
    return max((-1.0 if math.isnan(row[rival.ap]) else row[rival.ap], rival) for rival in deciding)


def _named(row: Row, rival: Rival) -> str:
    which = row[rival.named] if rival.named else ""
    return f"{rival.article} {rival.label}{f' ({which})' if which else ''}"


def _between(row: Row, name: str, ends: str) -> str:
    """A number with its interval, if there is one."""
    value, low, high = row[name], row[f"{ends}_low"], row[f"{ends}_high"]
    if math.isnan(value):
        return UNKNOWN
    return _signed(value) if math.isnan(low) else f"{_signed(value)} ({_signed(low)} to {_signed(high)})"


def _signed(value: float) -> str:
    return f"-{_score(-value)}" if value < 0 else _score(value)


def _score(value: float) -> str:
    """Two decimals; one significant digit if the value is smaller than that."""
    if math.isnan(value) or value < 0:
        return UNKNOWN
    return f"{value:.2f}" if value >= 0.005 or value <= 0 else f"{value:.1g}"


def _percent(value: float) -> str:
    return "An unknown share" if math.isnan(value) else f"{100 * value:.0f} %"


def _count(value: float) -> str:
    return "an unknown number of" if math.isnan(value) else f"{value:,.0f}"
