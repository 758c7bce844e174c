"""Tables for spreadsheets: no cell is a formula, no name breaks a row, and all texts come back."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import write_tsv
from sae_tracks.metrics import read_table

NASTY = (
    "=HYPERLINK(1)",
    "@SUM(A1)",
    "+1+cmd|x!A0",
    "-2+3+cmd|' /C calc'!A0",
    "'=x",
    "+",
    "-",
    "-0.5,0.25",
    "a\tb",
    "x\ny",
)
NAMES = st.sampled_from(NASTY) | st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8)


@given(st.lists(st.tuples(NAMES, st.floats(-9, 9).map(lambda x: float(f"{x:.6g}"))), min_size=1, max_size=6))
def test_texts_come_back_and_no_cell_is_a_formula(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "t.tsv"
    table = pd.DataFrame({"concept": [name for name, _ in rows], "f1": [value for _, value in rows]})
    write_tsv(table, path)
    for line in path.read_text().splitlines()[1:]:
        first = line.split("\t")[0]
        assert not re.match(r"[=@\t]", first)
        assert not re.match(r"[+-][^\d.,+:; eE-]", first)
    found = read_table(path)
    assert found["concept"].tolist() == [re.sub(r"[\x00-\x1f\x7f]+", " ", name) for name, _ in rows]
    assert np.allclose(found["f1"], table["f1"])


def test_each_text_is_searched_once(tmp_path):
    """Searches are counted, not seconds."""
    searches = []

    def count(frame, event, called):
        if event == "c_call" and isinstance(getattr(called, "__self__", None), re.Pattern):
            searches.append(called)

    names = pd.Series([NASTY[i % len(NASTY)] for i in range(2000)] + [f"name {i}" for i in range(2000)])
    sys.setprofile(count)
    try:
        write_tsv(pd.DataFrame({"concept": names}), tmp_path / "t.tsv")
    finally:
        sys.setprofile(None)
    assert 0 < len(searches) < 100


def test_values_that_are_no_text_stay_beside_texts(tmp_path):
    table = pd.DataFrame({"concept": pd.Series(["=a", True, 1, 2.5, None, ["=b"]], [0] * 6, dtype=object)})
    write_tsv(table, tmp_path / "t.tsv")
    assert (tmp_path / "t.tsv").read_text() == "concept\n'=a\nTrue\n1\n2.5\n\"\"\n['=b']\n"
    assert table["concept"].iloc[0] == "=a"


@pytest.mark.parametrize("concept", ["B", 'the "B"', '"'])
def test_a_table_that_ends_within_a_row_is_refused(tmp_path, concept):
    """Before its last tab, wherever it is cut; quotes stand around a name that holds one."""
    path = tmp_path / "metrics.tsv"
    write_tsv(pd.DataFrame({"concept": ["A", concept], "f1": [0.25, 0.125], "recall": [0.5, 0.75]}), path)
    text = path.read_text()
    row = text.splitlines()[-1]
    for left in range(1, row.rindex("\t") + 1):
        path.write_text(text.removesuffix(row + "\n") + row[:left])
        with pytest.raises(SaeTracksError, match=r"metrics\.tsv is cut short"):
            read_table(path)


@pytest.mark.parametrize("end", ["", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n"])
@pytest.mark.parametrize("name", ["B", 'the "B"'])
def test_a_table_that_another_program_saved_is_read(tmp_path, end, name):
    table = pd.DataFrame({"concept": ["A", name, ""], "f1": [0.25, 0.125, 0.5], "tf": ["X", "", ""]})
    write_tsv(table, path := tmp_path / "metrics.tsv")
    text = path.read_text()
    lines = "\r\n" if "\r" in end else "\n"
    path.write_bytes((text.removesuffix("\n").replace("\n", lines) + end).encode())
    pd.testing.assert_frame_equal(read_table(path), table)


def test_a_row_with_a_column_too_many_or_a_very_long_cell_is_refused(tmp_path):
    for row, message in (("B\t1\t2", "has not as many columns"), ("B" * 200_000 + "\t1", "as a table of scores")):
        (tmp_path / "metrics.tsv").write_text(f"concept\tf1\nA\t0.5\n{row}\n")
        with pytest.raises(SaeTracksError, match=message):
            read_table(tmp_path / "metrics.tsv")


def test_a_word_among_the_numbers_names_its_column(tmp_path):
    (tmp_path / "metrics.tsv").write_text("concept\tf1\nA\t0.5\nB\tx\n")
    with pytest.raises(SaeTracksError, match="expected numbers in the column 'f1'; one is 'x'"):
        read_table(tmp_path / "metrics.tsv")
