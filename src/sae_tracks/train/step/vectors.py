"""Vectors in the words of LLVM, for what numba has none."""

from llvmlite import ir

INDEX = ir.IntType(32)


def load(builder, address, vector):
    """The vector at an address, which need not be a multiple of its size."""
    loaded = builder.load(builder.inttoptr(address, vector.as_pointer()))
    loaded.align = 4
    return loaded


def splat(builder, scalar, vector):
    """A vector that holds a scalar in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    lanes = ir.Constant(ir.VectorType(INDEX, vector.count), [0] * vector.count)
    return builder.shuffle_vector(builder.insert_element(undefined, scalar, INDEX(0)), undefined, lanes)


def declared(builder, name, kind):
    """The function of a name in the module that is being built, such as one of LLVM's own."""
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
