"""P-values of permutation tests without the permutations: saddlepoint approximations of the sum over the labelled.

Under the null hypothesis, which regions are the set's is exchangeable: with *strata*, among a region and those that are
matched to it; without, among all regions. The statistic is the sum of the values of the set's regions. Its distribution
over all permutations is approximated from its cumulants (Lugannani and Rice 1980; without strata, where the number of
labelled regions is fixed, as in Robinson 1982). If all values are multiples of a span, the sums are corrected for
continuity (Daniels 1987). The largest and the smallest sum have their exact probability.

The formula needs many values of which none dominates. So if there are few, all permutations are counted. If there are
more, but as unequal as fewer than `LEAST` equal ones, permutations are drawn.

Values are at least 0, and those that are 0 are not stored.
"""

import math

import numpy as np
from numba import njit

from sae_tracks.jit import EXACT

STEPS, CLOSE = 200, 1e-10
REACHED, NEAR = 1e-18, 1e-6  # gains of a step: below the first it ends, below the second whole steps only approach
SMALL, ASIDE = 1e-3, 0.05  # below the first, in standard deviations, the formula is 0/0, and that far beside it is used
LEAST = 12  # equal values
COUNTED, DRAWS = 1 << 14, 20_000  # permutations, at most
SAME = 1e-9  # sums that differ by less, as a share of the largest value, are equal
LOWEST = -690.0  # log of the smallest p-value
LINEAR = 300  # beyond it, sinh overflows, and the probability is that of the largest or smallest sum


@njit(**EXACT)
def stratified_tails(stratum, x, own, size, span):
    """Both one-sided p-values of the sum of the set's values, if one region of each stratum is the set's.

    Parameters
    ----------
    stratum : (k,) int64
        Of each value that is not 0, ascending.
    x : (k,) float64
        The values.
    own : (k,) bool
        Whether the value is of the set's region.
    size : (strata,) int64
        Regions of each stratum, the set's and those matched to it.
    span : float
        All values are multiples of it; 0 if there is no such number.

    Returns
    -------
    upper, lower : float
        Probability of a sum that is at least, and at most, as large.
    """
    if not len(x):
        return 1.0, 1.0
    top, mine = x.max(), (x * own).sum()
    if _outcomes(stratum, size) <= COUNTED:
        return _counted(stratum, x, size, mine - SAME * top, mine + SAME * top)
    is_most, most, is_least, least = _extremes(stratum, x, own, size)
    if is_most or is_least:
        return 1.0 if is_least else most, 1.0 if is_most else least
    half = span / top / 2
    if _equal_values(x) >= LEAST:
        upper = _beyond(mine / top - half, 1.0, half, stratum, x, top, size)
        lower = _beyond(mine / top + half, -1.0, half, stratum, x, top, size)
        if 0 < upper <= 1 and 0 < lower <= 1:
            return upper, lower
    return _drawn(stratum, x, size, mine - SAME * top, mine + SAME * top)


@njit(**EXACT)
def pooled_tails(x, own, labelled, regions, span):
    """Both one-sided p-values of the sum of the set's values, if any `labelled` of the regions may be the set's.

    Parameters
    ----------
    x : (k,) float64
        The values that are not 0.
    own : (k,) bool
        Whether the value is of one of the set's regions.
    labelled, regions : int
        Regions of the set, and of the set and the background together.
    span : float
        All values are multiples of it; 0 if there is no such number.

    Returns
    -------
    upper, lower : float
        Probability of a sum that is at least, and at most, as large.
    """
    if not len(x) or labelled == 0 or labelled == regions:
        return 1.0, 1.0
    top, mine = x.max(), (x * own).sum()
    if 1 << min(len(x), 62) <= COUNTED:
        return _counted_pool(x, labelled, regions, mine - SAME * top, mine + SAME * top)
    is_most, most = _largest(x, own, labelled, regions)
    is_least, least = _largest(x, ~own, regions - labelled, regions)
    if is_most or is_least:
        return 1.0 if is_least else most, 1.0 if is_most else least
    half = span / top / 2
    if _equal_values(x) >= LEAST:
        upper = _outside(mine / top - half, 1.0, half, x, top, labelled, regions)
        lower = _outside(mine / top + half, -1.0, half, x, top, labelled, regions)
        if 0 < upper <= 1 and 0 < lower <= 1:
            return upper, lower
    return _drawn_pool(x, labelled, regions, mine - SAME * top, mine + SAME * top)


@njit(**EXACT)
def _equal_values(x):
    """The number of equal values whose sum would be as certain: (sum of x)^2 / sum of x^2."""
    return x.sum() ** 2 / (x * x).sum()


@njit(**EXACT)
def _outcomes(stratum, size):
    """In how many ways the set's region of each stratum can be one of the values or a 0; infinite if there are many."""
    ways, i = 1.0, 0
    while i < len(stratum) and ways <= COUNTED:
        last = np.searchsorted(stratum, stratum[i], side="right")
        ways *= last - i + (last - i < size[stratum[i]])
        i = last
    return ways


@njit(**EXACT)
def _counted(stratum, x, size, low, high):
    """Both p-values from all permutations: of sums of at least `low`, and of at most `high`."""
    sums, share, i = np.zeros(1), np.ones(1), 0
    while i < len(x):
        n = size[stratum[i]]
        last = np.searchsorted(stratum, stratum[i], side="right")
        zeros = n - (last - i)
        more = last - i + (zeros > 0)
        to_sums, to_share = np.empty(len(sums) * more), np.empty(len(sums) * more)
        for k in range(more):
            here = slice(k * len(sums), (k + 1) * len(sums))
            zero = i + k == last
            to_sums[here] = sums if zero else sums + x[i + k]
            to_share[here] = share * (zeros if zero else 1) / n
        sums, share, i = to_sums, to_share, last
    return min(share[sums >= low].sum(), 1.0), min(share[sums <= high].sum(), 1.0)


@njit(**EXACT)
def _counted_pool(x, labelled, regions, low, high):
    """As `_counted`, for a fixed number of labelled regions."""
    k = len(x)
    share = np.zeros(k + 1)  # of each choice of so many of the values
    for many in range(k + 1):
        if many <= labelled and labelled - many <= regions - k:
            share[many] = math.exp(_choose(regions - k, labelled - many) - _choose(regions, labelled))
    sums, count = np.zeros(1 << k), np.zeros(1 << k, np.int64)
    upper, lower = share[0] * (low <= 0), share[0] * (high >= 0)
    for choice in range(1, 1 << k):
        rest, bit = choice & (choice - 1), 0
        while not choice >> bit & 1:
            bit += 1
        sums[choice], count[choice] = sums[rest] + x[bit], count[rest] + 1
        upper += share[count[choice]] * (sums[choice] >= low)
        lower += share[count[choice]] * (sums[choice] <= high)
    return min(upper, 1.0), min(lower, 1.0)


@njit(**EXACT)
def _drawn(stratum, x, size, low, high):
    """Both p-values from random permutations, (1 + hits) / (1 + draws)."""
    np.random.seed(0)
    above, below = 1, 1
    for _ in range(DRAWS):
        total, i = 0.0, 0
        while i < len(x):
            last = i + 1
            while last < len(x) and stratum[last] == stratum[i]:
                last += 1
            chosen = i + int(np.random.random() * size[stratum[i]])
            total += x[chosen] if chosen < last else 0.0
            i = last
        above += total >= low
        below += total <= high
    return above / (1 + DRAWS), below / (1 + DRAWS)


@njit(**EXACT)
def _drawn_pool(x, labelled, regions, low, high):
    """As `_drawn`, for a fixed number of labelled regions."""
    np.random.seed(0)
    above, below = 1, 1
    for _ in range(DRAWS):
        total, left = 0.0, labelled
        for i in range(len(x)):
            if np.random.random() * (regions - i) < left:
                total += x[i]
                left -= 1
        above += total >= low
        below += total <= high
    return above / (1 + DRAWS), below / (1 + DRAWS)


@njit(**EXACT)
def _beyond(wanted, side, half, stratum, x, top, size):
    """The probability of a sum above `wanted` (side 1), or below it (side -1)."""
    found = _beyond_any(wanted, side, half, stratum, x, top, size)
    if not np.isnan(found):
        return found
    aside = ASIDE * math.sqrt(_cumulants(0.0, stratum, x, top, size)[2])
    both = [_beyond_any(wanted + by, side, half, stratum, x, top, size) for by in (-aside, aside)]
    return (both[0] + both[1]) / 2


@njit(**EXACT)
def _beyond_any(wanted, side, half, stratum, x, top, size):
    """The same, but NaN at the mean of the sum."""
    t, low, high, k0, k2 = 0.0, -np.inf, np.inf, 0.0, 1.0
    for _ in range(STEPS):
        k0, k1, k2 = _cumulants(t, stratum, x, top, size)
        if abs(k1 - wanted) <= CLOSE * max(wanted, 1e-3):
            break
        low, high = (t, high) if k1 < wanted else (low, t)
        step = t + (wanted - k1) / k2 if k2 > 0 else np.inf
        if not low < step < high or abs(step - t) > 10 + abs(t):
            step = t + math.copysign(10 + abs(t), wanted - k1)
            if not low < step < high:
                step = (low + high) / 2
        t = step
    return _tail(t, t * wanted - k0, k2, side, half)


@njit(**EXACT)
def _tail(t, half_square, variance, side, half):
    """The upper (side 1) or lower p-value by the formula of Lugannani and Rice; `half` is half of the span, or 0."""
    r = math.copysign(math.sqrt(max(2 * half_square, 0.0)), t)
    if abs(r) < SMALL:
        return np.nan
    slope = math.sinh(t * half) / half if half > 0 and abs(t * half) < LINEAR else t
    gap = math.exp(-r * r / 2) / math.sqrt(2 * math.pi) * (1 / (slope * math.sqrt(variance)) - 1 / r)
    return math.erfc(side * r / math.sqrt(2)) / 2 + side * gap


@njit(**EXACT)
def _cumulants(t, stratum, x, top, size):
    """The cumulant generating function of the sum at t, for values over `top`, and its first two derivatives."""
    k0, k1, k2, i = 0.0, 0.0, 0.0, 0
    while i < len(x):
        s, last, shift = stratum[i], i, 0.0
        while last < len(x) and stratum[last] == s:
            shift = max(shift, t * x[last] / top)
            last += 1
        total, first, second = (size[s] - (last - i)) * math.exp(-shift), 0.0, 0.0
        for j in range(i, last):
            value = x[j] / top
            weight = math.exp(t * value - shift)
            total += weight
            first += weight * value
            second += weight * value * value
        k0 += shift + math.log(total / size[s])
        k1 += first / total
        k2 += second / total - (first / total) ** 2
        i = last
    return k0, k1, k2


@njit(**EXACT)
def _extremes(stratum, x, own, size):
    """Whether the sum is the largest one, and the probability of that; the same of the smallest one."""
    most, least, is_most, is_least, i = 0.0, 0.0, True, True, 0
    while i < len(x):
        s, last, highest, mine = stratum[i], i, 0.0, 0.0
        lowest = np.inf
        while last < len(x) and stratum[last] == s:
            highest, lowest = max(highest, x[last]), min(lowest, x[last])
            mine += x[last] if own[last] else 0.0
            last += 1
        zeros = size[s] - (last - i)
        lowest = 0.0 if zeros > 0 else lowest
        at_highest, at_lowest = 0, zeros
        for j in range(i, last):
            at_highest += x[j] == highest
            at_lowest += x[j] == lowest
        is_most, is_least = is_most and mine == highest, is_least and mine == lowest
        most, least = most + math.log(at_highest / size[s]), least + math.log(at_lowest / size[s])
        i = last
    return is_most, math.exp(max(most, LOWEST)), is_least, math.exp(max(least, LOWEST))


@njit(**EXACT)
def _outside(wanted, side, half, x, top, labelled, regions):
    """As `_beyond`, for a fixed number of labelled regions."""
    found = _outside_any(wanted, side, half, x, top, labelled, regions)
    if not np.isnan(found):
        return found
    share, mean, square = labelled / regions, x.sum() / top / regions, (x * x).sum() / top / top / regions
    aside = ASIDE * math.sqrt(regions * share * (1 - share) * (square - mean * mean))
    both = [_outside_any(wanted + by, side, half, x, top, labelled, regions) for by in (-aside, aside)]
    return (both[0] + both[1]) / 2


@njit(**EXACT)
def _outside_any(wanted, side, half, x, top, labelled, regions):
    """The same, but NaN at the mean of the sum."""
    share, zeros = labelled / regions, regions - len(x)
    s, t = 0.0, 0.0
    value, gs, gt, ss, st, tt = _joint(s, t, x, top, zeros, share)
    value -= s * labelled + t * wanted
    for _ in range(STEPS):
        gs, gt = gs - labelled, gt - wanted
        determinant = ss * tt - st * st
        if not determinant > 0:
            break
        ds, dt = (st * gt - tt * gs) / determinant, (st * gs - ss * gt) / determinant
        gain, step = -(gs * ds + gt * dt), 1.0  # the value falls by half of it
        if gain <= REACHED:
            break
        while True:
            to_s, to_t = s + step * ds, t + step * dt
            reached, gs, gt, next_ss, next_st, next_tt = _joint(to_s, to_t, x, top, zeros, share)
            reached -= to_s * labelled + to_t * wanted
            if reached <= value or gain < NEAR or step < 1e-9:
                break
            step /= 2
        s, t, value, ss, st, tt = to_s, to_t, reached, next_ss, next_st, next_tt
    return _tail(t, -value, (ss * tt - st * st) / (regions * share * (1 - share)), side, half)


@njit(**EXACT)
def _joint(s, t, x, top, zeros, share):
    """The joint cumulant generating function of the number of labelled regions and of their sum, and derivatives."""
    odds = math.log(share / (1 - share))
    k, p = _softplus(s + odds), 1 / (1 + math.exp(-(s + odds)))
    k0, ks, kss = zeros * k, zeros * p, zeros * p * (1 - p)
    kt, kst, ktt = 0.0, 0.0, 0.0
    for i in range(len(x)):
        value = x[i] / top
        log_odds = s + t * value + odds
        p = 1 / (1 + math.exp(-log_odds))
        w = p * (1 - p)
        k0 += _softplus(log_odds)
        ks += p
        kt += p * value
        kss += w
        kst += w * value
        ktt += w * value * value
    return k0 + (zeros + len(x)) * math.log(1 - share), ks, kt, kss, kst, ktt


@njit(**EXACT)
def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit(**EXACT)
def _largest(x, own, labelled, regions):
    """Whether the labelled regions have the largest sum, and the probability of that."""
    values, held = np.sort(x)[::-1], own.sum()
    if len(x) <= labelled:
        log = _choose(regions - len(x), labelled - len(x)) - _choose(regions, labelled)
        return held == len(x), math.exp(max(log, LOWEST))
    edge, above, level, is_it = values[labelled - 1], 0, 0, held == labelled
    for i in range(len(x)):
        above += x[i] > edge
        level += x[i] == edge
        if (x[i] > edge and not own[i]) or (x[i] < edge and own[i]):
            is_it = False
    log = _choose(level, labelled - above) - _choose(regions, labelled)
    return is_it, math.exp(max(log, LOWEST))


@njit(**EXACT)
def _choose(n, k):
    """The logarithm of the binomial coefficient."""
    return math.lgamma(n + 1.0) - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0)
