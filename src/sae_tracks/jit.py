"""Options for numba's ``njit``: kernels run in the calling thread and release the interpreter's lock."""

from typing import Any

from numba import njit


def _can_cache() -> bool:
    """Whether numba can keep compiled kernels: it needs to write into the package's folder or the home folder."""
    try:
        njit(cache=True)(_can_cache)
    except RuntimeError:
        return False
    return True


EXACT: dict[str, Any] = {"nogil": True, "cache": _can_cache(), "error_model": "numpy"}  # keeps the order of operations
FAST: dict[str, Any] = EXACT | {
    "fastmath": {"reassoc", "contract", "arcp", "nsz"}
}  # may reorder sums; NaN and infinity are kept
