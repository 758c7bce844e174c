"""The section on signals: the numbers of the files, a page of signals alone, and text that stays text."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from test_report import EVIL, TF, Page, page_of, rows_of_each_verdict, write_scores

from sae_tracks.errors import SaeTracksError
from sae_tracks.report import make_page, view_site, write_report
from sae_tracks.report.signals import BASES, read_signals
from sae_tracks.signals.tables import COLUMNS
from sae_tracks.signals.verdict import SIGNAL_OUTCOMES

SAID = "The best dimension of the language model (17) has a correlation of -0.50; the feature's is 0.43 (0.39 to 0.46)."
ATAC = {"signal": "atac", "feature": "f819", "read_strand": "-", "verdict": "dimension", "says": SAID, "untested": ""}
ATAC |= {"bin_spearman": 0.431, "bin_spearman_low": 0.392, "bin_spearman_high": 0.463, "shift_q": 0.003}
ATAC |= {"sequence": "CG", "sequence_spearman": -0.127, "dimension": "17", "dimension_spearman": -0.504}
ATAC |= {"r2": 0.371, "r2_low": 0.322, "r2_high": 0.414, "kmer_r2": 0.104, "kmer_r2_low": 0.08, "kmer_r2_high": 0.12}
ATAC |= {"gc_r2": -0.021, "gc_r2_low": -0.03, "gc_r2_high": -0.01}
ATAC |= {"dimension_r2": 0.352, "dimension_r2_low": 0.31, "dimension_r2_high": 0.4}
ATAC |= {"active_mean": 12.34, "matched_mean": 7.89, "difference": 4.45, "difference_low": 3.1, "difference_high": 5.6}
ATAC |= {"q": 0.00012}
NOISE = ATAC | {"signal": "noise", "feature": "f3", "read_strand": "+", "verdict": "supported", "says": ""}


def write_signals(folder, rows, profiles=None):
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "signals.tsv", sep="\t", index=False)
    if profiles is not None:
        profiles.to_parquet(folder / "signal_profiles.parquet")
    return folder


def profile_of(mean, places=100, **pair):
    offset = np.arange(-500, 501, dtype=np.int32)
    whose = {"signal": "atac", "feature": "f819", "read_strand": "-"} | pair
    return pd.DataFrame({**whose, "offset": offset, "mean": mean, "places": places})


def words(html):
    """The text of the section on signals."""
    (section,) = re.findall(r'<section id="signals">.*?</section>', html, re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", section))


def test_a_row_has_the_numbers_of_the_file(tmp_path):
    said = words(make_page(write_signals(tmp_path / "s", [ATAC, NOISE])).files["index.html"].decode())
    for text in (
        *("atac f/819 read - dimension The best dimension", "(17) has a correlation of -0.50", "0.43 (0.39 to 0.46)"),
        *("letters CG -0.13", "dimension 17 -0.50", "features 0.37 (0.32 to 0.41)", "words 0.10 (0.08 to 0.12)"),
        *("GC, CpG -0.02 (-0.03 to -0.01)", "dimensions 0.35 (0.31 to 0.40)"),
        *("mean 12.3", "expected 7.89", "difference 4.45 (3.1 to 5.6)", "q 0.00012"),
        *("noise f/3 read + supported Passed every test.", "all numbers are of the report half"),
    ):
        assert text in said


def test_both_tables_are_on_the_page_and_beside_it(tmp_path):
    scores = write_signals(write_scores(tmp_path / "s", rows_of_each_verdict()), [ATAC, NOISE], profile_of(1.0))
    report = write_report(scores, tmp_path / "site")
    page = Page((tmp_path / "site" / "index.html").read_text())
    assert {path.name for path in (tmp_path / "site").iterdir()} == {
        *("index.html", "metrics.tsv", "signals.tsv", "provenance.json")
    }
    assert (tmp_path / "site" / "signals.tsv").read_bytes() == (scores / "signals.tsv").read_bytes()
    assert set(json.loads((tmp_path / "site" / "provenance.json").read_text())) >= {"scores_sha256", "signals_sha256"}
    links = [value for _, name, value in page.attributes if name == "href"]
    assert {"#browse", "#signals", "metrics.tsv", "signals.tsv"} <= set(links)
    assert report.signals == 2
    assert view_site(scores)["signals.tsv"] == (scores / "signals.tsv").read_bytes()


def test_without_signals_nothing_is_said_of_them(tmp_path):
    site = make_page(write_scores(tmp_path / "s", rows_of_each_verdict())).files
    assert "signals" not in site["index.html"].decode().split("<script", 1)[0].split("</style>", 1)[1].lower()


def test_a_page_of_signals_alone_has_no_table_of_matches_and_no_script(tmp_path):
    facts = {"lm": {"model": "me/lm", "layer": 3}, "genome": {"path": "/data/g.fa"}, "regions": ["chr1:1-1000"]}
    scores = write_signals(tmp_path / "s", [ATAC], profile_of(1.0))
    (scores / "provenance.json").write_text(json.dumps(facts))
    page = page_of(scores, tmp_path / "site")
    text = (tmp_path / "site" / "index.html").read_text()
    assert page.tags.count("table") == 1 and page.tags.count("script") == 0 and page.tags.count("main") == 0
    assert "script-src" not in text and "default-src 'none'" in text
    assert {path.name for path in (tmp_path / "site").iterdir()} == {"index.html", "signals.tsv", "provenance.json"}
    assert set(json.loads((tmp_path / "site" / "provenance.json").read_text())) >= {"signals_sha256", "scored"}
    links = [value for _, name, value in page.attributes if name == "href"]
    assert links == ["#signals", "#figures", "#how", "#made", "signals.tsv"]
    assert "They were scored on g.fa, chr1:1-1000 (1,000 bases)." in text
    assert "For each of 1 signal, the page has the feature" in text and "not scored" not in text
    assert "average precision" not in text and "k-mer" not in text
    assert all(f"<dt>{verdict}</dt>" in text for verdict in SIGNAL_OUTCOMES)
    assert list(view_site(tmp_path / "site")) == ["index.html", "provenance.json", "signals.tsv"]


def points_of(html, name):
    path = re.search(rf'<path class="{name}" d="([^"]*)"', html)[1]
    return [[tuple(map(float, point.split())) for point in piece.split("L")] for piece in path.split("M")[1:]]


def test_profiles_are_drawn_in_the_direction_of_reading(tmp_path):
    offset = np.arange(-500, 501)
    rising = np.where(offset < 200, 0.0, 10.0)
    rising[(offset > -300) & (offset < -200)] = np.nan
    other = profile_of(5.0, feature="f4")
    elsewhere = [profile_of(90.0, read_strand="+"), profile_of(90.0, signal="x")]
    profiles = pd.concat([other, profile_of(rising), *elsewhere], ignore_index=True)
    html = make_page(write_signals(tmp_path / "s", [ATAC], profiles)).files["index.html"].decode()
    first, last = points_of(html, "profile")  # the gap parts it
    ((*_, level),) = [points_of(html, "next")[0]]
    every = [*first, *last]
    assert len(every) == 1001 // BASES - 8  # eight points have no value at all
    heights = [y for _, y in every]
    assert [x for x, _ in every] == sorted(x for x, _ in every)
    assert heights[0] > heights[-1]  # of an SVG, 0 is at the top
    assert level[1] == pytest.approx((heights[0] + heights[-1]) / 2, abs=0.1)
    assert [label in words(html) for label in ("-500 0 +500", "0 10", "bases from the peak, as read")] == [True] * 3


def test_a_point_of_a_profile_is_a_mean_over_places(tmp_path):
    mean, places = np.zeros(1001), np.full(1001, 1)
    mean[500], places[500] = 11.0, 9  # of the point in the middle: 9 x 11 of 19 places
    mean[0] = 20.0  # 20 of 11
    html = make_page(write_signals(tmp_path / "s", [ATAC], profile_of(mean, places))).files["index.html"].decode()
    (points,) = points_of(html, "profile")
    floor, heights = points[1][1], [y for _, y in points]
    assert (floor - heights[45]) / (floor - heights[0]) == pytest.approx((99 / 19) / (20 / 11), abs=0.02)


@pytest.mark.parametrize(
    "profiles", [None, profile_of(np.nan), profile_of(0.0), profile_of(1e308), profile_of(1.0)[:0]]
)
def test_what_cannot_be_drawn_leaves_the_numbers(tmp_path, profiles):
    said = words(make_page(write_signals(tmp_path / "s", [ATAC], profiles)).files["index.html"].decode())
    assert "0.43 (0.39 to 0.46)" in said and "as read" not in said


def test_names_of_signals_never_become_markup(tmp_path):
    odd = dict.fromkeys(("signal", "feature", "read_strand", "sequence", "dimension", "says"), TF)
    row = ATAC | odd
    profiles = profile_of(1.0, signal=TF, feature=TF, read_strand=TF)
    page = page_of(write_signals(tmp_path / "s", [row, row | {"signal": EVIL}], profiles), tmp_path / "site")
    assert "script" not in page.tags and "img" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert [row[0] for row in page.rows[1:]] == [TF, EVIL]
    assert page.attributes.count(("svg", "class", "chart")) == 1


def test_one_half_was_not_tested(tmp_path):
    row = {name: value for name, value in ATAC.items() if "r2" not in name and name != "shift_q"}
    row |= {"verdict": "not-tested", "says": ""}
    said = words(make_page(write_signals(tmp_path / "s", [row])).files["index.html"].decode())
    assert "Failed no test, but not all tests were run." in said
    assert "which flatters them" in said and "report half" not in said


def test_numbers_that_were_not_measured_are_blanks(tmp_path):
    row = ATAC | dict.fromkeys((name for name in ATAC if name.endswith(("_low", "_high", "r2")) or name == "q"), np.nan)
    section = read_signals(write_signals(tmp_path / "s", [row])).section
    assert "nan" not in section and "0.43<br>" in section and "<dt>q</dt>" not in section


def test_a_run_in_which_no_feature_has_a_correlation_says_so(tmp_path):
    said = words(
        make_page(write_signals(tmp_path / "s", pd.DataFrame(columns=list(COLUMNS)))).files["index.html"].decode()
    )
    assert "No feature has a correlation with a signal on the select half." in said


def test_signals_of_the_run_without_a_row_are_named(tmp_path):
    scores = write_signals(tmp_path / "s", [ATAC])
    files = [{"name": name, "sha256": ""} for name in ("atac", EVIL)]
    (scores / "provenance.json").write_text(json.dumps({"signals": {"files": files}}))
    html = make_page(scores).files["index.html"].decode()
    assert "correlation with &lt;script&gt;alert(1)&lt;/script&gt; on the select half" in html


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"verdict": "certain"}, "'certain' is no verdict; expected supported, not-tested"),
        ({"bin_spearman": np.inf}, "'bin_spearman' holds something that is no number"),
        ({"r2_low": "much"}, "'r2_low' holds something that is no number"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, change, error):
    scores = write_signals(tmp_path / "s", [ATAC | change])
    with pytest.raises(SaeTracksError, match=error):
        make_page(scores)


def test_a_table_without_a_column_is_one_line(tmp_path):
    for name in ("signal", "bin_spearman", "verdict", "q"):
        with pytest.raises(SaeTracksError, match=rf"signals\.tsv has no column '{name}'"):
            make_page(write_signals(tmp_path / "s", pd.DataFrame([ATAC]).drop(columns=name)))
    scores = write_signals(tmp_path / "t", [ATAC], profile_of(1.0).drop(columns="places"))
    with pytest.raises(SaeTracksError, match=r"signal_profiles\.parquet has no column 'places'"):
        make_page(scores)
    (scores / "signal_profiles.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(SaeTracksError, match="cannot read"):
        make_page(scores)
    with pytest.raises(SaeTracksError, match="holds something that is no number"):
        make_page(write_signals(tmp_path / "t", [ATAC], profile_of(np.inf)))
