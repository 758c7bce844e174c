"""JSON from files that may be torn or made to harm: bounded, and of the shape that the reader needs.

A shape says what a value must be:

========================  ==========================================================================
``int``                   a whole number of 64 bits
``float``                 a finite number
``str``, ``bool``         text; true or false
``dict``, ``list``        any object; any list
``object``                anything
``None``                  null
a string or an integer    this value
``[shape]``               a list of such values
``{"a": ..., "b?": ...}``  an object with a, and perhaps b; it may have other fields
``{str: shape}``          an object with any names, each of such a value
``(shape, shape)``        one of these
``At(low, high)``         a whole number from low to high
``Row(shape, shape)``     a list of two values, each of its shape
========================  ==========================================================================
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, Self

from sae_tracks.bounded import read_bytes
from sae_tracks.errors import SaeTracksError

MOST_BYTES = 1 << 28  # of a file: a manifest of 10^6 contigs takes 10^8
MOST_DEPTH = 64  # lists and objects within each other
LONGEST = 1 << 63
Shape = Any


@dataclass(frozen=True, slots=True)
class At:
    """A whole number from `low` to `high`."""

    low: int = 0
    high: int = LONGEST - 1


class Row(tuple[Shape, ...]):
    """A list whose values have shapes of their own."""

    def __new__(cls, *shapes: Shape) -> Self:
        return super().__new__(cls, shapes)


SIZE = At(1, 1 << 40)
COUNT = At(0)
WHOLE = At(-LONGEST)


def read_json(path: str | Path, shape: Shape = dict, remedy: str = "") -> Any:
    """Read a JSON file.

    Parameters
    ----------
    path : path
        A regular file.
    shape : shape
        What its value must be; see this module. Fields that are not named are left as they are.
    remedy : str
        What to do if it is not, for the error.

    Returns
    -------
    The value of the document.

    Raises
    ------
    SaeTracksError
        The file is missing, larger than 256 MB, not JSON, nested deeper than 64 levels, or of another shape. The error
        names the field.
    """
    return parse_json(read_bytes(Path(path), MOST_BYTES), str(path), shape, remedy)


def parse_json(text: bytes | str, name: str, shape: Shape = dict, remedy: str = "") -> Any:
    """The same of text; errors call it `name`."""
    advice = f"; {remedy}" if remedy else ""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise SaeTracksError(f"cannot read {name} as JSON: it is nested too deep{advice}") from error
    except ValueError as error:
        raise SaeTracksError(f"cannot read {name} as JSON: {error}{advice}") from error
    if _is_deeper(value, MOST_DEPTH):
        raise SaeTracksError(f"cannot read {name} as JSON: it is nested deeper than {MOST_DEPTH} levels{advice}")
    return check(value, name, shape, remedy)


def check(value: Any, name: str, shape: Shape, remedy: str = "") -> Any:
    """Return a value that was read before, if it is of a shape; the error calls its file `name`."""
    if not fit([value], shape):
        field, expected, found = mistake(value, shape)
        where, advice = f"field {_cut(field, 80)}" if field else "the document", f"; {remedy}" if remedy else ""
        raise SaeTracksError(f"{name}: {where} must be {expected}; it is {_shown(found)}{advice}")
    return value


def fit(values: list[Any], shape: Shape) -> bool:
    """Whether all values are of a shape.

    A field is checked in all of them at once: a step for each of 10^6 contigs would take longer than to parse them.
    """
    if _is_choice(shape):
        if len(types := set(map(type, values))) > 1:
            return all(fit([value for value in values if type(value) is one], shape) for one in types)
        of_one = any(fit(values, one) for one in shape)
        return of_one or (len(values) > 1 and all(fit([value], shape) for value in values))
    return _are(values, shape) and all(fit(inner, one) for _, inner, one in _inside(values, shape))


def mistake(value: Any, shape: Shape, field: str = "") -> tuple[str, str, Any]:
    """The first wrong field of a value that does not fit: its name, what it must be, and what it is or `MISSING`."""
    if _is_choice(shape):
        meant = [one for one in shape if type(one) is type(value) and isinstance(one, dict | list)]
        return mistake(value, meant[0], field) if meant else (field, _named(shape), value)
    for key, column, one in _inside([value], shape) if _are([value], shape) else ():
        names = value if key is str else map("[{}]".format, count()) if key is list else [key]
        for name, inner in zip(names, column):
            if not fit([inner], one):
                return mistake(inner, one, f"{field}.{name}" if field and not name.startswith("[") else field + name)
    return field, _named(shape), value


MISSING = object()


def _is_choice(shape: Shape) -> bool:
    return isinstance(shape, tuple) and not isinstance(shape, Row)


def _inside(values: list[Any], shape: Shape) -> Iterator[tuple[Any, list[Any], Shape]]:
    """Yield each field of lists or objects, what stands there in all of them, and its shape.

    The field is a name, or `str` or `list` for all names or places. `MISSING` stands for a field that must be there.
    """
    if isinstance(shape, Row):
        yield from ((f"[{i}]", [value[i] for value in values], one) for i, one in enumerate(shape))
    elif isinstance(shape, list):
        yield list, list(chain.from_iterable(values)), shape[0]
    elif isinstance(shape, dict):
        for key, one in shape.items():
            if key is str:
                yield key, [inner for value in values for inner in value.values()], one
            elif key.endswith("?"):
                yield key[:-1], [value[key[:-1]] for value in values if key[:-1] in value], one
            else:
                yield key, [value.get(key, MISSING) for value in values], one


def _are(values: list[Any], shape: Shape) -> bool:
    """Whether values are of a shape at their own level."""
    types = set(map(type, values))
    if shape is object:
        return object not in types  # that of `MISSING`
    if shape is None or isinstance(shape, str | int):
        return types <= {type(shape)} and all(value == shape for value in values)
    if isinstance(shape, Row):
        return types <= {list} and all(len(value) == len(shape) for value in values)
    if shape is int:
        shape = WHOLE
    if isinstance(shape, At):
        return types <= {int} and (not values or (shape.low <= min(values) and max(values) <= shape.high))
    if shape is float:
        return types <= {int, float} and all(abs(value) <= sys.float_info.max for value in values)
    kind = list if isinstance(shape, list) else dict if isinstance(shape, dict) else shape
    return all(issubclass(one, kind) for one in types)


NAMES = {
    int: "a whole number", float: "a finite number", str: "text", bool: "true or false", dict: "an object",
    list: "a list", object: "anything",
}  # fmt: skip


def _named(shape: Shape) -> str:
    if isinstance(shape, Row):
        return f"a list of {len(shape)} values"
    if isinstance(shape, tuple):
        return " or ".join(map(_named, shape))
    if isinstance(shape, list | dict):
        return NAMES[list if isinstance(shape, list) else dict]
    if isinstance(shape, At):
        return f"a whole number from {shape.low:,}" + (f" to {shape.high:,}" if shape.high < LONGEST - 1 else "")
    return NAMES[shape] if isinstance(shape, type) else json.dumps(shape)


def _shown(value: Any) -> str:
    if value is MISSING:
        return "missing"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    try:
        return _cut(json.dumps(value), 40)
    except ValueError:  # a number of thousands of digits
        return "a number of many digits"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."


def _is_deeper(value: Any, most: int) -> bool:
    level = [[value]]
    for _ in range(most + 1):
        level = [
            inner
            for one in level
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) is dict or type(inner) is list
        ]
    return bool(level)
