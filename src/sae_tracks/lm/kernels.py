"""Element-wise work of a Hyena block. Each numba kernel is one sweep over memory.

All arrays are float32. A kernel runs in the calling thread, on data of its own, without the interpreter's lock. NaN and
infinity propagate.
"""

import math

import numpy as np
from numba import njit

from sae_tracks.jit import FAST

F = np.float32
# tanh(x) = x P(x^2) / Q(x^2), with Eigen's coefficients, exact to a few units in the last place
P0, P1, P2, P3 = F(-2.76076847742355e-16), F(2.00018790482477e-13), F(-8.60467152213735e-11), F(5.12229709037114e-08)
P4, P5, P6 = F(1.48572235717979e-05), F(6.37261928875436e-04), F(4.89352455891786e-03)
Q0, Q1, Q2, Q3 = F(1.19825839466702e-06), F(1.18534705686654e-04), F(2.26843463243900e-03), F(4.89352518554385e-03)
TANH_END = F(7.90531110763549805)  # above it tanh is 1 in float32, and x P / Q a little less
GELU_SCALE, GELU_CUBE = F(math.sqrt(2 / math.pi)), F(0.044715)


@njit(inline="always")
def _tanh(x):
    inside = min(max(x, -TANH_END), TANH_END)
    s = inside * inside
    p = (((((P0 * s + P1) * s + P2) * s + P3) * s + P4) * s + P5) * s + P6
    q = ((Q0 * s + Q1) * s + Q2) * s + Q3
    return F(1) if x > TANH_END else F(-1) if x < -TANH_END else inside * p / q


@njit("void(f4[:,::1],f4[::1])", **FAST)
def add_gelu(h, bias):
    """``h = gelu(h + bias)`` with the tanh approximation, in place; h is (rows, width)."""
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            x = h[i, j] + bias[j]
            h[i, j] = F(0.5) * x * (F(1) + _tanh(GELU_SCALE * (x + GELU_CUBE * x * x * x)))


@njit("void(f4[:,::1],f4[::1],f4[::1],f4[::1],f4,f4[:,::1])", **FAST)
def add_norm(x, add, weight, bias, eps, out):
    """Add `add` to x, (rows, d), in place, and write the layer norm of its rows to `out`."""
    n = x.shape[1]
    for i in range(x.shape[0]):
        total = F(0)
        for j in range(n):
            x[i, j] += add[j]
            total += x[i, j]
        mean = total / F(n)
        squares = F(0)
        for j in range(n):
            squares += (x[i, j] - mean) * (x[i, j] - mean)
        scale = F(1) / np.sqrt(squares / F(n) + eps)
        for j in range(n):
            out[i, j] = (x[i, j] - mean) * scale * weight[j] + bias[j]


@njit(inline="always")
def _start(u, i, known, first, taps, add, bias):
    """Return the short filter at base i, one of the first two, which has `known` ones or zeros before it."""
    y = bias + taps[2] * (u[i] + add)
    if i == 1:
        y += taps[1] * (u[0] + add)
    elif first > 0:
        y += taps[1] * known[first - 1]
    return y + taps[0] * known[first + i - 2] if first + i > 1 else y


@njit(
    "void(i8,i8[::1],f4[:,::1],f4[:,::1],f4[:,::1],f4[::1],f4[::1],f4[:,::1],f4[:,::1],f4[:,::1],f4[::1],f4[::1],f4[:,::1])",
    **FAST,
)
def filter_and_multiply(length, first, u, u_known, u_taps, u_add, u_bias, v, v_known, v_taps, v_add, v_bias, out):
    """Multiply two projections of m sequences after their causal short filters of three taps.

    u, v and `out` are (channels, >= m * length). Sequence j lies at base ``first[j]`` of ``known`` (channels, n), which
    has ``u + add`` at the bases before it. Zeros lie before base 0.

    ``filtered[i] = bias + taps[2] (u[i] + add) + taps[1] (u[i-1] + add) + taps[0] (u[i-2] + add)``
    """
    for c in range(u.shape[0]):
        s, t, before_a, before_b = u_taps[c], v_taps[c], u_known[c], v_known[c]
        s0, s1, s2, t0, t1, t2 = s[0], s[1], s[2], t[0], t[1], t[2]
        e, f = u_bias[c] + u_add[c] * (s0 + s1 + s2), v_bias[c] + v_add[c] * (t0 + t1 + t2)
        for j in range(len(first)):
            part = slice(j * length, (j + 1) * length)
            a, b, o = u[c, part], v[c, part], out[c, part]
            for i in range(min(2, length)):
                y = _start(a, i, before_a, first[j], s, u_add[c], u_bias[c])
                o[i] = y * _start(b, i, before_b, first[j], t, v_add[c], v_bias[c])
            for i in range(2, length):
                o[i] = (e + s2 * a[i] + s1 * a[i - 1] + s0 * a[i - 2]) * (f + t2 * b[i] + t1 * b[i - 1] + t0 * b[i - 2])


@njit("void(i8,i8[::1],f4[:,::1],f4[:,::1],f4[:,::1],f4[::1],f4[::1],f4[:,::1],f4[:,::1])", **FAST)
def filter_and_gate(length, first, u, known, taps, add, bias, y, out):
    """Compute ``out = y * filtered(u)``, all (channels, >= m * length), with the filter of `filter_and_multiply`."""
    for c in range(u.shape[0]):
        s, before = taps[c], known[c]
        s0, s1, s2 = s[0], s[1], s[2]
        e = bias[c] + add[c] * (s0 + s1 + s2)
        for j in range(len(first)):
            part = slice(j * length, (j + 1) * length)
            a, g, o = u[c, part], y[c, part], out[c, part]
            for i in range(min(2, length)):
                o[i] = g[i] * _start(a, i, before, first[j], s, add[c], bias[c])
            for i in range(2, length):
                o[i] = g[i] * (e + s2 * a[i] + s1 * a[i - 1] + s0 * a[i - 2])


@njit("void(i8,i8[::1],i8[::1],f4[:,::1],f4[:,::1])", **FAST)
def keep_difference(length, first, changed, known, x):
    """Subtract from x (channels, >= m * length) what is `known` (channels, n) at the bases of m copies.

    Copy j begins at base ``first[j]`` of what is known. Its first ``changed[j]`` bases become zeros.
    """
    for c in range(x.shape[0]):
        for j in range(len(first)):
            a, k = x[c, j * length : (j + 1) * length], known[c, first[j] : first[j] + length]
            a[: changed[j]] = F(0)
            for i in range(changed[j], length):
                a[i] -= k[i]


@njit("void(i8,i8[::1],i8[::1],f4[:,::1],f4[:,::1],f4[:,::1],f4[:,::1])", **FAST)
def add_filtered(length, first, changed, known, x, taps, y):
    """Add to what is `known` the causal convolution of `taps` (channels, 7 + >= length) and differences of copies.

    Copies, `known` and the differences x are those of `keep_difference`. Seven zeros lie before the taps.
    """
    for c in range(x.shape[0]):
        h = taps[c]
        for j in range(len(first)):
            part, start = slice(j * length, (j + 1) * length), changed[j]
            a, o = x[c, part], y[c, part]
            o[:] = known[c, first[j] : first[j] + length]
            for p in range(start, length - 7, 8):  # eight at a time, so that y is read and written less
                a0, a1, a2, a3, a4, a5, a6, a7 = (
                    a[p],
                    a[p + 1],
                    a[p + 2],
                    a[p + 3],
                    a[p + 4],
                    a[p + 5],
                    a[p + 6],
                    a[p + 7],
                )
                q = o[p:]
                for i in range(len(q)):
                    q[i] += (
                        a0 * h[i + 7] + a1 * h[i + 6] + a2 * h[i + 5] + a3 * h[i + 4]
                        + a4 * h[i + 3] + a5 * h[i + 2] + a6 * h[i + 1] + a7 * h[i]
                    )  # fmt: skip
            for p in range(start + (length - start) // 8 * 8, length):
                q = o[p:]
                for i in range(len(q)):
                    q[i] += a[p] * h[i + 7]
