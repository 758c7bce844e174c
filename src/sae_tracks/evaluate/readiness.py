"""Is an SAE fit to have its features looked at? A rule with numbers; docs/methods.md says why these."""

from collections.abc import Iterator, Mapping
from typing import Any

MOST_DEAD = 0.1  # less than this share of the features
MOST_FVU = 0.5  # less
MOST_L0 = 0.5  # of d_in, at most
LEAST_RECOVERED = 0.8  # of the cross entropy, against the mean, at least
LEAST_ROWS = 100  # trained on, a feature, at least


def reasons_against(record: Mapping[str, Any]) -> list[str]:
    """What speaks against interpreting an SAE: each reason with its number and what is wanted; none where it is ready.

    Parameters
    ----------
    record : mapping
        ``complete``, ``d_in``, ``d_sae``, ``rows`` (trained on), ``dead`` (share), ``fvu``, ``l0``, and ``evaluation``,
        of which ``recovered_mean`` and ``trained_bases`` count. What is None is not known, and a reason.
    """
    if not record["complete"]:
        return ["training is not complete"]
    return [*_of_statistics(record), *_of_training(record), *_of_evaluation(record["evaluation"])]


def _of_statistics(record: Mapping[str, Any]) -> Iterator[str]:
    dead, fvu, l0, most = record["dead"], record["fvu"], record["l0"], MOST_L0 * record["d_in"]
    if dead is None:
        yield "statistics not measured"
    elif not dead < MOST_DEAD:
        yield f"dead {dead:.1%}, wanted less than {MOST_DEAD:.0%}"
    if fvu is None or l0 is None:
        yield "FVU and L0 not measured"
        return
    if not fvu < MOST_FVU:
        yield f"FVU {fvu:.4g}, wanted less than {MOST_FVU:g}"
    if not l0 <= most:
        yield f"L0 {l0:.4g}, wanted at most {most:g} (half of the {record['d_in']:,} inputs)"


def _of_training(record: Mapping[str, Any]) -> Iterator[str]:
    if record["rows"] is None:
        yield "rows trained on not known"
    elif not record["rows"] >= LEAST_ROWS * record["d_sae"]:
        wanted = f"{LEAST_ROWS * record['d_sae']:,} ({LEAST_ROWS} a feature)"
        yield f"trained on {record['rows']:,} rows, wanted at least {wanted}"


def _of_evaluation(evaluation: Mapping[str, Any] | None) -> Iterator[str]:
    if evaluation is None:
        yield "cross entropy recovered not measured"
        return
    recovered, trained = evaluation["recovered_mean"], evaluation["trained_bases"]
    if recovered is None:
        yield "the language model predicts no better than without its activations"
    elif not recovered >= LEAST_RECOVERED:
        yield f"cross entropy recovered {recovered:.4g} against the mean, wanted at least {LEAST_RECOVERED:g}"
    if trained is None:
        yield "not known whether the regions evaluated were trained on"
    elif trained:
        yield f"{trained:,} of the bases evaluated lie where it was trained, wanted none"
