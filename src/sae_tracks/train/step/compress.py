"""Keeping the lanes of a vector that exceed their bounds: a compressing store, which numba has no words for.

LLVM turns it into one instruction on AVX-512 and into a few moves elsewhere.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sae_tracks.train.step.vectors import INDEX, declared, load, splat

LANES = 16
COUNT, BITS = ir.IntType(64), ir.IntType(LANES)
INDICES, MASK = ir.VectorType(INDEX, LANES), ir.VectorType(ir.IntType(1), LANES)
NAMES = {"float": "f32", "double": "f64"}


@intrinsic
def keep(context, values, low, shift, bias, first, rows, kept, at):
    """Of 16 values those whose ``value + shift`` exceeds its ``low``: ``value + bias`` and their numbers are appended.

    Parameters
    ----------
    values, low, rows, kept : int
        Addresses: of 16 floats, of 16 floats, and of the arrays, int32 and float, to append to; room for 16 is needed.
    shift, bias : float
        Of the type of the values.
    first : int
        Number of the first value.
    at : int
        How many were appended before.

    Returns
    -------
    int
        How many were appended now.
    """
    signature = types.intp(values, low, shift, bias, first, rows, kept, at)
    return signature, _generate


def _generate(_context, builder, signature, arguments):
    values, low, shift, bias, first, rows, kept, at = arguments
    scalar = shift.type
    vector = ir.VectorType(scalar, LANES)
    loaded = load(builder, values, vector)
    mask = builder.fcmp_ordered(">", builder.fadd(loaded, splat(builder, shift, vector)), load(builder, low, vector))
    bits = builder.bitcast(mask, BITS)
    with builder.if_then(builder.icmp_unsigned("!=", bits, BITS(0))):
        numbers = builder.add(
            splat(builder, builder.trunc(first, INDEX), INDICES), ir.Constant(INDICES, [*range(LANES)])
        )
        _append(builder, builder.fadd(loaded, splat(builder, bias, vector)), kept, at, mask, NAMES[str(scalar)])
        _append(builder, numbers, rows, at, mask, "i32")
    return builder.zext(builder.ctpop(bits), COUNT)


def _append(builder, vector, address, at, mask, name):
    pointer = vector.type.element.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [vector.type, pointer, MASK])
    store = declared(builder, f"llvm.masked.compressstore.v{LANES}{name}", kind)
    builder.call(store, [vector, builder.gep(builder.inttoptr(address, pointer), [at]), mask])
