"""Keeping the lanes of a vector that exceed their bounds: a compressing store, which numba has no words for.

LLVM turns it into one instruction on AVX-512 and into a few moves elsewhere.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16
INDEX, COUNT, BITS = ir.IntType(32), ir.IntType(64), ir.IntType(LANES)
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
    loaded = _load(builder, values, vector)
    mask = builder.fcmp_ordered(">", builder.fadd(loaded, _splat(builder, shift, vector)), _load(builder, low, vector))
    bits = builder.bitcast(mask, BITS)
    with builder.if_then(builder.icmp_unsigned("!=", bits, BITS(0))):
        numbers = builder.add(
            _splat(builder, builder.trunc(first, INDEX), INDICES), ir.Constant(INDICES, [*range(LANES)])
        )
        _append(builder, builder.fadd(loaded, _splat(builder, bias, vector)), kept, at, mask, NAMES[str(scalar)])
        _append(builder, numbers, rows, at, mask, "i32")
    return builder.zext(builder.ctpop(bits), COUNT)


def _load(builder, address, vector):
    loaded = builder.load(builder.inttoptr(address, vector.as_pointer()))
    loaded.align = 4
    return loaded


def _splat(builder, scalar, vector):
    """A vector that holds a scalar 16 times."""
    undefined = ir.Constant(vector, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(undefined, scalar, INDEX(0)), undefined, INDICES([0] * LANES))


def _append(builder, vector, address, at, mask, name):
    pointer = vector.type.element.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [vector.type, pointer, MASK])
    full_name = f"llvm.masked.compressstore.v{LANES}{name}"
    store = builder.module.globals.get(full_name) or ir.Function(builder.module, kind, full_name)
    builder.call(store, [vector, builder.gep(builder.inttoptr(address, pointer), [at]), mask])
