"""JSON is read bounded and of the shape that is asked for; anything else is one line that names file and field."""

import json
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_tracks import json_file
from sae_tracks.errors import SaeTracksError
from sae_tracks.json_file import COUNT, MISSING, At, Row, check, fit, mistake, parse_json, read_json

GOOD = (
    (int, -3),
    (float, 2),
    (float, 1e308),
    (bool, True),
    (str, ""),
    (None, None),
    (object, [None]),
    (dict, {"a": 1}),
    ([At(1, 4)], [1, 4]),
    ({"a": int, "b?": str}, {"a": 1, "c": []}),
    ({str: float}, {"x": 0.5, "y": 1}),
    ((int, None), None),
    (("+", "-"), "-"),
    (Row(str, COUNT), ["x", 0]),
    (([int], {"a": int}), {"a": 2}),
    (7, 7),
)
BAD = (
    (int, True, "the document must be a whole number; it is true"),
    (int, 2**63, "the document must be a whole number; it is 9223372036854775808"),
    (float, "1", 'the document must be a finite number; it is "1"'),
    (float, 10**400, "the document must be a finite number; it is 1000"),
    (dict, [], "the document must be an object; it is a list"),
    ({"a": int}, {}, "field a must be a whole number; it is missing"),
    ({"a": {"b": [str]}}, {"a": {"b": ["x", 3]}}, r"field a\.b\[1\] must be text; it is 3"),
    ({"a?": COUNT}, {"a": -1}, "field a must be a whole number from 0; it is -1"),
    ({str: int}, {"x": None}, "field x must be a whole number; it is null"),
    ((int, None), "x", 'the document must be a whole number or null; it is "x"'),
    (("+", "-"), "*", r'the document must be "\+" or "-"; it is "\*"'),
    (({"a": int}, None), {"a": "x"}, 'field a must be a whole number; it is "x"'),
    (Row(str, int), ["x"], "the document must be a list of 2 values; it is a list"),
    (Row(str, int), ["x", "y"], r'field \[1\] must be a whole number; it is "y"'),
    (At(1, 4), 5, "the document must be a whole number from 1 to 4; it is 5"),
    (1, True, "the document must be 1; it is true"),
)


@pytest.mark.parametrize(("shape", "value"), GOOD, ids=str)
def test_a_value_of_the_shape_is_returned(shape, value):
    assert check(value, "x.json", shape) is value


@pytest.mark.parametrize(("shape", "value", "message"), BAD, ids=str)
def test_another_value_names_its_field(shape, value, message):
    with pytest.raises(SaeTracksError, match=f"^x.json: {message}"):
        check(value, "x.json", shape, "make it again")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested deeper than 64 levels"),
        ("1" * 6000, "cannot read .* as JSON"),
        ('{"a": NaN}', "field a must be a finite number; it is NaN"),
        ('{"a": -Infinity}', "field a must be a finite number; it is -Infinity"),
        ('{"a": 1e999}', "field a must be a finite number"),
        ("\ud800".encode("utf-8", "surrogatepass"), "cannot read .* as JSON"),
        ("{", "cannot read .* as JSON"),
    ],
    ids=str,
)
def test_hostile_documents_are_one_line(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SaeTracksError, match=message) as caught:
        read_json(path, {"a?": float}, "make it again")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_file_that_is_too_large_or_a_folder_is_refused(tmp_path):
    (tmp_path / "large.json").touch()
    with (tmp_path / "large.json").open("r+b") as file:
        file.truncate((1 << 28) + 1)
    for name, message in (("large.json", "more than 268,435,456 bytes"), (".", "folder"), ("none.json", "no file")):
        with pytest.raises(SaeTracksError, match=message):
            read_json(tmp_path / name)


SHAPES = st.recursive(
    st.sampled_from([int, float, str, bool, None, object, COUNT, "x", 3]),
    lambda inner: st.one_of(
        inner.map(lambda one: [one]),
        st.dictionaries(st.sampled_from(["a", "b?", str]), inner, max_size=3),
        st.tuples(inner, inner),
        st.tuples(inner, inner).map(lambda pair: Row(*pair)),
    ),
    max_leaves=8,
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.sampled_from("abc"), inner)),
    max_leaves=12,
)


def fits(value, shape):
    """The words of the module's table, written once more."""
    if isinstance(shape, Row):
        return isinstance(value, list) and len(value) == len(shape) and all(map(fits, value, shape))
    if isinstance(shape, tuple):
        return any(fits(value, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(one, shape[0]) for one in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        named = {key.rstrip("?"): (inner, key.endswith("?")) for key, inner in shape.items() if key is not str}
        there = all(fits(value[key], inner) if key in value else may for key, (inner, may) in named.items())
        return there and (str not in shape or all(fits(one, shape[str]) for one in value.values()))
    if shape is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1.8e308
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if shape is COUNT:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    if shape in (str, bool):
        return isinstance(value, shape)
    return shape is object or (type(value) is type(shape) and value == shape)


@given(VALUES, SHAPES)
def test_shapes_say_what_the_table_says(value, shape):
    assert fit([value], shape) == fits(value, shape)
    assert parse_json(json.dumps(value), "x", object) == value
    if not fits(value, shape):
        field, expected, found = mistake(value, shape)
        assert isinstance(field, str) and expected
        assert found is MISSING or not field or found in inside(value)


def inside(value):
    """All that lies in a value, at any depth."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield inner
        yield from inside(inner)


@given(st.lists(VALUES, max_size=4), SHAPES)
def test_many_values_fit_if_each_does(values, shape):
    assert fit(values, shape) == all(fits(value, shape) for value in values)


def test_numbers_that_json_lacks_may_stand_in_fields_that_nobody_reads():
    """As in the configurations of transformers."""
    read = parse_json('{"time_step_limit": [0.0, Infinity], "loss": NaN, "step": 3}', "config.json", {"step": COUNT})
    assert read["time_step_limit"] == [0, math.inf] and math.isnan(read["loss"])


def test_the_first_of_many_wrong_fields_is_named():
    """Whether fields come from one place or many: shapes are compared with all values at once."""
    contigs = {f"c{i}": {"length": i, "M5": ""} for i in range(9)}
    contigs["c5"]["length"] = contigs["c7"]["length"] = -1
    with pytest.raises(SaeTracksError, match=r"field contigs\.c5\.length must be a whole number from 0; it is -1"):
        check({"contigs": contigs}, "x.json", {"contigs": {str: {"length": COUNT, "M5": str}}})


def test_checking_takes_no_step_for_each_value():
    """The calls of its functions are counted, not seconds: 10,000 contigs take as many as 10."""
    shape = {"contigs": ({str: {"length": COUNT, "M5?": str, "at": (Row(int, float), None)}}, None), "names": [str]}

    def calls(n):
        contigs = {f"c{i}": {"length": i, "M5": "x", "at": [i, 0.5] if i % 2 else None} for i in range(n)}
        text = json.dumps({"contigs": contigs, "names": list(contigs)})
        done = []
        sys.setprofile(lambda frame, event, _: done.append(frame.f_code) if event == "call" else None)
        try:
            parse_json(text, "x.json", shape)
        finally:
            sys.setprofile(None)
        return len([code for code in done if code.co_filename == json_file.__file__ and code.co_name[0] != "<"])

    assert calls(10_000) == calls(10)


def test_a_long_name_of_a_field_is_cut():
    with pytest.raises(SaeTracksError) as caught:
        check({"x" * 10_000: 1}, "x.json", {str: str})
    assert str(caught.value) == f"x.json: field {'x' * 80} ... must be text; it is 1"


@pytest.mark.parametrize(("depth", "ends"), [(64, "1"), (64, ""), (65, "1")])
def test_the_deepest_document(depth, ends):
    """Lists and objects in turn, beside flat ones."""
    pairs = [("[0, [1], ", "]") if i % 2 else ('{"a": {}, "b": ', "}") for i in range(depth - 1)]
    text = "".join(one for one, _ in pairs) + f"[{ends}]" + "".join(one for _, one in reversed(pairs))
    if depth <= 64:
        assert parse_json(text, "x.json", object) == json.loads(text)
    else:
        with pytest.raises(SaeTracksError, match="nested deeper than 64 levels"):
            parse_json(text, "x.json", object)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_text_is_a_value_or_one_line(text):
    try:
        parse_json(text, "x.json", object)
    except SaeTracksError as error:
        assert str(error).startswith("cannot read x.json as JSON")
