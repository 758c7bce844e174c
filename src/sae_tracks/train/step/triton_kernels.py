# pyright: reportMissingImports=false
"""What a training step on a GPU does between its matrix products, in Triton.

Floats are all float32 or all float64; a program is one row of the grid. No float is added to memory atomically and no
order depends on the scheduler, so that the same batch gives the same bytes. Offsets that reach n x d_sae are int64.
"""

# pyright: reportOperatorIssue=false, reportAssignmentType=false
# Triton's constexpr and loop variables have types of their own
import triton
import triton.language as tl

WORD = tl.constexpr(32)  # bits


@triton.jit
def mark(h, threshold, least, by_row, by_feature, n, features, half, SIZE: tl.constexpr):
    """Set a bit, in words of rows and in words of features, where a feature is active or near its threshold.

    A program takes 32 rows and SIZE features. h: (n, features); threshold: (features,); least: (n,), what an active
    feature is at least; by_row: (n, ceil(features / 32)) int32; by_feature: (features, ceil(n / 32)) int32; half:
    distance from the threshold that counts as near.
    """
    bit, block = tl.arange(0, WORD), tl.program_id(0)
    row = block * WORD + bit
    feature = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    inside = (row < n)[:, None] & (feature < features)[None, :]
    value = tl.load(h + row.to(tl.int64)[:, None] * features + feature[None, :], mask=inside, other=0.0)
    cut = tl.load(threshold + feature, mask=feature < features, other=0.0)[None, :]
    low = tl.load(least + row, mask=row < n, other=0.0)[:, None]
    found = ((value > cut) & (value >= low)) | (tl.abs(value - cut) < half)
    found = (found & inside).to(tl.int32)
    at = by_feature + feature * tl.cdiv(n, WORD) + block
    tl.store(at, tl.sum(found << bit[:, None], 0), mask=feature < features)
    words = tl.cdiv(features, WORD)
    word = tl.program_id(1) * (SIZE // WORD) + tl.arange(0, SIZE // WORD)
    packed = tl.sum(tl.reshape(found, (WORD, SIZE // WORD, WORD)) << bit[None, None, :], 2)
    tl.store(by_row + row[:, None] * words + word[None, :], packed, mask=(row < n)[:, None] & (word < words)[None, :])


@triton.jit
def spread(words, items, counts, width, length, SIZE: tl.constexpr):
    """List the bits that are set, ascending; a program takes a line.

    words: (lines, width) int32; items: (lines, length) int32, of which as many are set as the line's count; counts:
    (lines,) int32.
    """
    line = tl.program_id(0).to(tl.int64)
    bit = tl.arange(0, WORD)
    count = 0
    for first in range(0, width, SIZE):
        at = first + tl.arange(0, SIZE)
        word = tl.load(words + line * width + at, mask=at < width, other=0)
        on = (word[:, None] >> bit[None, :]) & 1
        held = tl.sum(on, 1)
        place = count + (tl.cumsum(held, 0) - held)[:, None] + tl.cumsum(on, 1) - on
        tl.store(items + line * length + place, at[:, None] * WORD + bit[None, :], mask=on > 0)
        count += tl.sum(held, 0)
    tl.store(counts + line, count)


@triton.jit
def _keys(value, BITS: tl.constexpr):
    """Integers that sort as floats do, of BITS bits besides the sign; 0 for what is not positive."""
    KEY: tl.constexpr = tl.int64 if BITS > 31 else tl.int32
    return tl.where(value > 0, value, 0.0).to(KEY, bitcast=True)


@triton.jit
def least_of_rows(h, least, k, features, BITS: tl.constexpr, SIZE: tl.constexpr):
    """The k-th largest of each row, found bit by bit; 0 where fewer than k are positive.

    h: (n, features); least: (n,); SIZE: >= features.
    """
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, SIZE)
    value = tl.load(h + row * features + at, mask=at < features, other=0.0)
    key = _keys(value, BITS)
    one = tl.full((1,), 1, key.dtype)
    best = tl.zeros((1,), key.dtype)
    for i in range(BITS):
        trial = best | (one << (BITS - 1 - i))
        enough = tl.sum((key >= trial).to(tl.int32), 0) >= k
        best = tl.where(enough, trial, best)
    tl.store(least + row + tl.arange(0, 1), best.to(value.dtype, bitcast=True))


@triton.jit
def tally(
    h, state, counts, size, low, BITS: tl.constexpr, DIGIT: tl.constexpr, SIZE: tl.constexpr, ROUNDS: tl.constexpr
):
    """Count the digits, DIGIT bits from bit `low` on, of those positive values whose higher bits are those looked for.

    h: (size,); state: (2,) int64, the higher bits and more; counts: (2^DIGIT,) int32, added to.
    """
    BINS: tl.constexpr = 1 << DIGIT
    lane = tl.arange(0, SIZE)
    known = tl.load(state)
    total = tl.zeros((2 * BINS,), tl.int32)
    for i in range(ROUNDS):
        at = (tl.program_id(0).to(tl.int64) * ROUNDS + i) * SIZE + lane
        value = tl.load(h + at, mask=at < size, other=0.0)
        key = _keys(value, BITS).to(tl.int64) >> low
        digit = (key & (BINS - 1)).to(tl.int32)
        counted = (value > 0) & ((key >> DIGIT) == known)
        # what does not count goes to as many bins above, one after the other: threads seldom wait for each other
        total += tl.histogram(tl.where(counted, digit, BINS + (lane & (BINS - 1))), 2 * BINS)
    bin = tl.arange(0, 2 * BINS)
    tl.atomic_add(counts + bin, total, mask=(bin < BINS) & (total > 0))


@triton.jit
def narrow(counts, state, DIGIT: tl.constexpr):
    """One digit more of the k-th largest; all stay 0 where there are fewer than k.

    counts: (2^DIGIT,) int32, of `tally`; state: (2, 2) int64, the digits before and which of the values that begin with
    them is looked for, counted from the largest; the second row is set to what follows from the first.
    """
    BINS: tl.constexpr = 1 << DIGIT
    bin = tl.arange(0, BINS)
    held = tl.load(counts + BINS - 1 - bin).to(tl.int64)
    known, wanted = tl.load(state), tl.load(state + 1)
    above = tl.sum((tl.cumsum(held, 0) < wanted).to(tl.int32), 0)
    above = tl.minimum(above, BINS - 1)
    tl.store(state + 2, (known << DIGIT) | (BINS - 1 - above).to(tl.int64))
    tl.store(state + 3, wanted - tl.sum(tl.where(bin < above, held, 0), 0))


@triton.jit
def decode(
    h, items, counts, listed, most, threshold, decoder, x, y, error, sums, features, d, R: tl.constexpr, D: tl.constexpr
):
    """Reconstruct a row from its features, R at a time, unless more than `most` are listed in the whole batch.

    h: (n, features); items: (n, features) int32; counts: (n,) int32; listed: () int64; threshold: (features,); decoder:
    (features, d); x, y: (n, d), with and without pre-bias; error: (n, d), set to ``x^ - x``; sums: (n, 3), set to the
    sum of the features, ``||error||^2`` and ``||x||^2``; D: >= d.
    """
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, D)
    inside = column < d
    target = tl.load(y + row * d + column, mask=inside, other=0.0)
    made = tl.zeros((R, D), target.dtype)
    total = tl.zeros((R,), target.dtype)
    count = tl.where(tl.load(listed) > most, 0, tl.load(counts + row))
    for first in range(0, count, R):
        i = first + tl.arange(0, R)
        valid = i < count
        f = tl.load(items + row * features + i, mask=valid, other=0).to(tl.int64)
        value = tl.load(h + row * features + f, mask=valid, other=0.0)
        value = tl.where(value > tl.load(threshold + f, mask=valid, other=0.0), value, 0.0)
        w = tl.load(decoder + f[:, None] * d + column[None, :], mask=valid[:, None] & inside[None, :], other=0.0)
        made += value[:, None] * w
        total += value
    wrong = tl.sum(made, 0) - target
    tl.store(error + row * d + column, wrong, mask=inside)
    given = tl.load(x + row * d + column, mask=inside, other=0.0)
    tl.store(sums + row * 3, tl.sum(total, 0))
    tl.store(sums + row * 3 + 1, tl.sum(wrong * wrong, 0))
    tl.store(sums + row * 3 + 2, tl.sum(given * given, 0))


@triton.jit
def gradients(
    order,
    h,
    items,
    counts,
    w,
    y,
    out,
    g,
    active,
    n,
    features,
    d,
    l1,
    l0,
    half,
    inverse,
    R: tl.constexpr,
    D: tl.constexpr,
):
    """The gradients of a feature from the rows on which it is listed, R at a time.

    order: (features,) int32, which features begin first; h: (n, features); items: (features, n) int32; counts:
    (features,) int32; y, out: (n, d), the encoder's input and the gradient with respect to the reconstruction; w, g:
    parameters and gradients as of `Weights.flat`; active: (features,) int64; l1, l0: of the penalties, over the batch;
    half, inverse: half the width of the thresholds' kernel, 0 where there is none, and 1 over the width; D: >= d.
    """
    f, column = tl.load(order + tl.program_id(0)).to(tl.int64), tl.arange(0, D)
    inside = column < d
    matrix = tl.cast(features, tl.int64) * d
    here = f * d + column
    direction = tl.load(w + matrix + here, mask=inside, other=0.0)
    cut = tl.load(w + 2 * matrix + features + f)
    encoder = tl.zeros((R, D), direction.dtype)
    decoder = tl.zeros((R, D), direction.dtype)
    bias = tl.zeros((R,), direction.dtype)
    pull = tl.zeros((R,), direction.dtype)
    hits = tl.zeros((R,), tl.int32)
    count = tl.load(counts + f)
    for first in range(0, count, R):
        i = first + tl.arange(0, R)
        valid = i < count
        row = tl.load(items + f * n + i, mask=valid, other=0).to(tl.int64)
        value = tl.load(h + row * features + f, mask=valid, other=0.0)
        at, there = row[:, None] * d + column[None, :], valid[:, None] & inside[None, :]
        o = tl.load(out + at, mask=there, other=0.0)
        slope = tl.sum(o * direction[None, :], 1) + l1
        on = valid & (value > cut)
        pull += tl.where(valid & (tl.abs(value - cut) < half), cut * slope + l0, 0.0)
        slope = tl.where(on, slope, 0.0)
        decoder += tl.where(on, value, 0.0)[:, None] * o
        encoder += slope[:, None] * tl.load(y + at, mask=there, other=0.0)
        bias += slope
        hits += on.to(tl.int32)
    tl.store(g + here, tl.sum(encoder, 0), mask=inside)
    tl.store(g + matrix + here, tl.sum(decoder, 0), mask=inside)
    tl.store(g + 2 * matrix + f, tl.sum(bias, 0))
    tl.store(g + 2 * matrix + features + f, -inverse * tl.sum(pull, 0))
    tl.store(active + f, tl.sum(hits, 0).to(tl.int64))


@triton.jit
def _moved(old, slope, m, v, at, inside, rate, scale, c1, c2, eps):
    """Parameters after Adam's update; the moments at an offset are changed."""
    first = tl.load(m + at, mask=inside, other=0.0)
    second = tl.load(v + at, mask=inside, other=0.0)
    first += c1 * (slope - first)
    second += c2 * (slope * slope - second)
    tl.store(m + at, first, mask=inside)
    tl.store(v + at, second, mask=inside)
    return old - rate * first / (tl.sqrt(second) * scale + eps)


@triton.jit
def _learn(w, g, m, v, at, inside, rate, scale, c1, c2, eps, least):
    """Adam's update of what is at an offset, which then is at least `least`."""
    old, slope = tl.load(w + at, mask=inside, other=0.0), tl.load(g + at, mask=inside, other=0.0)
    new = _moved(old, slope, m, v, at, inside, rate, scale, c1, c2, eps)
    tl.store(w + at, tl.where(new < least, least, new), mask=inside)  # what is not a number stays so


@triton.jit
def update(w, g, m, v, features, d, rate, scale, c1, c2, eps, D: tl.constexpr):
    """Adam on a feature, its decoder row kept at length 1; the program after the last feature's takes the pre-bias.

    w, g, m, v: parameters, gradients and moments as of `Weights.flat`; rate, scale, c1, c2, eps: of `adam_terms`.
    """
    f, column = tl.program_id(0).to(tl.int64), tl.arange(0, D)
    inside, one = column < d, tl.arange(0, 1)
    matrix = tl.cast(features, tl.int64) * d
    low = float("-inf")
    if f == features:
        at = 2 * (matrix + features) + column
        _learn(w, g, m, v, at, inside, rate, scale, c1, c2, eps, low)
    else:
        at = f * d + column
        _learn(w, g, m, v, at, inside, rate, scale, c1, c2, eps, low)
        at += matrix
        old, slope = tl.load(w + at, mask=inside, other=0.0), tl.load(g + at, mask=inside, other=0.0)
        slope -= tl.sum(slope * old, 0) * old
        new = tl.where(inside, _moved(old, slope, m, v, at, inside, rate, scale, c1, c2, eps), 0.0)
        tl.store(w + at, new / tl.sqrt(tl.sum(new * new, 0)), mask=inside)
        place = 2 * matrix + f + one
        _learn(w, g, m, v, place, one < 1, rate, scale, c1, c2, eps, low)
        _learn(w, g, m, v, place + features, one < 1, rate, scale, c1, c2, eps, 0.0)
