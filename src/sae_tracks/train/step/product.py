"""Matrix products of tiles that lie in the cache, compiled by numba for the vectors of the processor.

torch's library of products knows some processors well and runs at less than half the speed of others. Here the right
matrix is laid out once in panels as wide as two vectors, the left one is read where it is, and a strip of HELD rows by
a panel's width of the result stays in registers over the whole sum.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import DTypeLike, NDArray

from sae_tracks.jit import HOW
from sae_tracks.train.step.vectors import declared, load, splat

PLACE = ir.IntType(64)
VECTORS = 2  # of a panel's width
DEPTH = 256  # of a sum taken at once: so much of a panel stays in the first-level cache


def _registers() -> tuple[int, int]:
    """Bytes of a vector, and rows whose sums fit the registers, of the processor that numba compiles for."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    if "+avx512f" in features:
        return 64, 12
    return (32, 6) if "+avx2" in features else (16, 6)


BYTES, HELD = _registers()


def panels(depth: int, columns: int, dtype: DTypeLike) -> NDArray:
    """Room for right matrices of up to so many rows and columns: (panels, depth, width)."""
    width = VECTORS * BYTES // np.dtype(dtype).itemsize
    return np.empty((-(-columns // width), depth, width), dtype)


@njit(**HOW)
def pack(b, panels):
    """Lay a (k, n) matrix, of any strides, out in panels; what remains of the last panel's width is set to 0."""
    width = panels.shape[2]
    for k in range(len(b)):
        for first in range(0, b.shape[1], width):
            line, columns = panels[first // width, k], min(width, b.shape[1] - first)
            for j in range(columns):
                line[j] = b[k, first + j]
            line[columns:] = 0


@njit(**HOW)
def multiply(a, panels, c, add):
    """``c = a b``, or ``c += a b``.

    Parameters
    ----------
    a : (m, k)
        Of any strides.
    panels : (panels, depth, width)
        In which b, (k, n), has been packed.
    c : (m, n)
        Of adjacent columns.
    add : bool
    """
    width = panels.shape[2]
    edge = np.empty((HELD, width), c.dtype)
    for start in range(0, a.shape[1], DEPTH):
        part, add_here = slice(start, min(start + DEPTH, a.shape[1])), add or start > 0
        for first in range(0, c.shape[1], width):
            panel = panels[first // width, part]
            for i in range(0, len(a), HELD):
                out = c[i : i + HELD, first : first + width]
                if out.shape == edge.shape:
                    _tile(a[i : i + HELD, part], panel, out, add_here)
                else:
                    _tile(a[i : i + HELD, part], panel, edge, False)
                    _take_over(edge, out, add_here)


@njit(**HOW)
def _take_over(edge, out, add):
    """Set or add what a tile that is smaller than the registers has of them."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = out[i, j] + edge[i, j] if add else edge[i, j]


@intrinsic
def _tile(context, a, panel, c, add):
    """``c = a panel``, or ``c += a panel``, in registers.

    Parameters
    ----------
    a : (m, k)
        m at most HELD; where it is less, the last row is taken again for the rest.
    panel : (k, width)
    c : (HELD, width)
        Of adjacent columns.
    add : bool
    """
    return types.void(a, panel, c, add), _generate


def _generate(context, builder, signature, arguments):
    a, panel, c = (context.make_array(t)(context, builder, v) for t, v in zip(signature.args, arguments[:3]))
    scalar = context.get_data_type(signature.args[0].dtype)
    vector = ir.VectorType(scalar, BYTES // context.get_abi_sizeof(scalar))
    sums = _sums(builder, vector, a, panel)
    with builder.if_else(arguments[3]) as (add, replace):
        with add:
            _store(builder, vector, c, sums, add=True)
        with replace:
            _store(builder, vector, c, sums, add=False)
    return context.get_dummy_value()


def _sums(builder, vector, a, panel):
    """HELD rows of VECTORS vectors: a loop over the columns of a that keeps them in registers."""
    (rows, depth), (row_step, step) = (_pair(builder, pair) for pair in (a.shape, a.strides))
    a_at, panel_at = (builder.ptrtoint(array.data, PLACE) for array in (a, panel))
    last = builder.sub(rows, PLACE(1))
    offsets = [builder.mul(row_step, _smaller(builder, PLACE(i), last)) for i in range(HELD)]
    before, loop, after = builder.block, *(builder.append_basic_block(name) for name in ("loop", "after"))
    builder.branch(loop)
    builder.position_at_end(loop)
    starts = [PLACE(0), a_at, panel_at] + [ir.Constant(vector, None)] * (HELD * VECTORS)
    held = [builder.phi(start.type) for start in starts]
    k, left, right, *sums = held
    columns = [load(builder, builder.add(right, PLACE(BYTES * v)), vector) for v in range(VECTORS)]
    new = [builder.add(k, PLACE(1)), builder.add(left, step), builder.add(right, PLACE(BYTES * VECTORS))]
    for i, offset in enumerate(offsets):
        value = splat(builder, _scalar(builder, builder.add(left, offset), vector.element), vector)
        new += [_multiply_add(builder, value, columns[v], sums[VECTORS * i + v]) for v in range(VECTORS)]
    for phi, start, end in zip(held, starts, new):
        phi.add_incoming(start, before)
        phi.add_incoming(end, loop)
    builder.cbranch(builder.icmp_signed("<", new[0], depth), loop, after)
    builder.position_at_end(after)
    return new[3:]


def _store(builder, vector, c, sums, add):
    """Set or add the sums to c."""
    line, (row_step, _) = builder.ptrtoint(c.data, PLACE), _pair(builder, c.strides)
    for i in range(HELD):
        for v in range(VECTORS):
            at, value = builder.add(line, PLACE(BYTES * v)), sums[VECTORS * i + v]
            value = builder.fadd(load(builder, at, vector), value) if add else value
            builder.store(value, builder.inttoptr(at, vector.as_pointer())).align = 4
        line = builder.add(line, row_step)


def _multiply_add(builder, x, y, z):
    """``x y + z``: one instruction where the processor has it, and two elsewhere."""
    name = f"llvm.fmuladd.v{x.type.count}{'f32' if str(x.type.element) == 'float' else 'f64'}"
    return builder.call(declared(builder, name, ir.FunctionType(x.type, [x.type] * 3)), [x, y, z])


def _scalar(builder, address, kind):
    return builder.load(builder.inttoptr(address, kind.as_pointer()))


def _smaller(builder, x, y):
    return builder.select(builder.icmp_signed("<", x, y), x, y)


def _pair(builder, values):
    return [builder.extract_value(values, i) for i in range(2)]
