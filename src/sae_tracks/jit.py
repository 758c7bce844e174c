"""How numba compiles: kernels run in the thread that calls them, without the interpreter's lock."""

from numba import njit


def _can_cache() -> bool:
    """Whether numba finds a folder to keep compiled kernels in: not where neither package nor home can be written."""
    try:
        njit(cache=True)(_can_cache)
    except RuntimeError:
        return False
    return True


EXACT = {"nogil": True, "cache": _can_cache(), "error_model": "numpy"}  # operations in the order written
HOW = {**EXACT, "fastmath": {"reassoc", "contract", "arcp", "nsz"}}  # NaN and infinity still travel through
