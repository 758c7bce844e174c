"""False discovery rates by their definitions, target after target."""

import numpy as np

from sae_tracks.controls.chance import LEAST

NAN = np.nan


def slow_q(target, decoys):
    """By the definition, one cut-off after another; targets that were not scored are no part of it."""
    q = [NAN] * len(target)
    rows = [i for i in range(len(target)) if not np.isnan(target[i])]
    own = {i: max(sum(not np.isnan(d) for d in decoys[i]), 1) for i in rows}
    rival = {i: max([d for d in decoys[i] if not np.isnan(d)], default=-np.inf) for i in rows}
    best, won = {i: max(target[i], rival[i]) for i in rows}, {i: target[i] > rival[i] for i in rows}
    for i in rows:
        rates = [1.0]
        for cut in set(best.values()):
            if won[i] and cut <= target[i]:
                losers = sum(1 / own[j] for j in rows if best[j] >= cut and not won[j])
                winners = sum(won[j] for j in rows if best[j] >= cut)
                rates.append((1 / min(own.values()) + losers) / winners)
        q[i] = min(rates)
    return q


def slow_bh(p):
    """Benjamini and Hochberg: the smallest m p / rank at this rank or a later one."""
    known = sorted(x for x in p if not np.isnan(x))
    m = len(known)
    later = [min(m * known[j] / (j + 1) for j in range(i, m)) for i in range(m)]
    return [NAN if np.isnan(x) else min(later[known.index(x)], 1) for x in p]


def slow_competition(average, few):
    """A row of outcomes a target, as dictionaries."""
    draws = [[d for d in row[1:] if not np.isnan(d)] for row in average]
    target, k = [row[0] for row in average], [len(d) for d in draws]
    ran = [not np.isnan(t) and n > 0 and (few or n >= min(average.shape[1] - 1, LEAST)) for t, n in zip(target, k)]
    if few:
        p = [(1 + sum(d >= t for d in some)) / (1 + n) if r else NAN for t, some, n, r in zip(target, draws, k, ran)]
        q, least = slow_bh(p), [1 / (1 + n) for n in k]
    else:
        q = slow_q([t if r else NAN for t, r in zip(target, ran)], average[:, 1:])
        least = [1 / (min([n for n, r in zip(k, ran) if r], default=1) * max(sum(ran), 1))] * len(target)
    return [
        {
            "decoys": NAN if np.isnan(t) else float(n),
            "decoy_ap": max(some) if r else NAN,
            "decoy_q": q[i] if r else NAN,
            "least_q": least[i] if r else NAN,
            "decoy_win": bool(t > max(some)) if r else None,
        }
        for i, (t, n, some, r) in enumerate(zip(target, k, draws, ran))
    ]
