"""The page of scores: what is in it, that nothing from a file becomes markup, and what its scripts do."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from sae_tracks.controls.verdict import OUTCOMES, strength, verdicts
from sae_tracks.errors import SaeTracksError
from sae_tracks.report import write_report
from sae_tracks.report.head import settings
from sae_tracks.report.scores import columns_of, embedded, load_scores

EVIL, TF = "<script>alert(1)</script>", '</script><img src=x onerror="alert(2)">'
PLAIN = {"site_strand": "+", "feature": "f7", "read_strand": "+", "threshold": 0.15, "instances": 200}
PLAIN |= {
    "tp": 80,
    "fp": 20,
    "fn": 40,
    "precision": 0.8,
    "recall": 2 / 3,
    "f1": 0.727,
    "select_f1": 0.75,
    "chosen": True,
}
TESTED = {
    "f1_low": 0.65,
    "f1_high": 0.8,
    "site_average_precision": 0.7,
    "site_ap_low": 0.6,
    "site_ap_high": 0.8,
    "recall_at_half": 0.3,
    "site_share": 0.4,
    "items": 200,
}
TESTED |= {"decoys": 199, "decoy_q": 0.01, "least_q": 0.005, "decoy_ap": 0.2}
TESTED |= {"repeat_share": 0.1, "repeat_class": "Alu", "items_outside_repeats": 100}
TESTED |= {"ap_inside_repeats": 0.7, "ap_outside_repeats": 0.65, "ap_outside_high": 0.75}
TESTED |= {"kmer": "TGACTC", "kmer_ap": 0.3, "kmer_f1": 0.2, "untrained_ap": 0.1, "permuted_ap": 0.15}
TESTED |= {"word_auroc": 0.8, "word_auroc_low": 0.7, "word_auroc_high": 0.9, "dimension": "-17", "dimension_ap": 0.25}
OTHER = {"concept": "peak", "tf": "", "decoy_q": np.nan, "decoys": np.nan, "least_q": np.nan, "word_auroc_low": np.nan}
OTHER |= {"regions_p": 0.005, "shift_p": 0.01, "regions_q": 0.02, "probe_ap": 0.3}
CHANGES = {
    "supported": {},
    "low-power": {"instances": 49},
    "chance": {"decoy_q": 0.31},
    "repeat": {"ap_outside_repeats": 0.21, "ap_outside_high": 0.3},
    "word": {"word_auroc": 0.52, "word_auroc_low": 0.48, "feature_kmer": "TGACTC", "feature_kmer_f1": 0.4},
    "context": {"insertion_auroc": 0.5, "insertion_low": 0.45, "insertion_high": 0.55},
    "local-sequence": OTHER | {"probe_ap": 0.65},
    "untrained": {"permuted_ap": 0.62},
    "dimension": {"dimension_ap": 0.61},
    "not-tested": {"untrained_ap": np.nan, "permuted_ap": np.nan},
}


def write_scores(folder, rows, provenance=None):
    """A folder as `metrics` leaves it."""
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "metrics.tsv", sep="\t", index=False)
    if provenance:
        (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


def rows_of_each_verdict():
    """A row of each verdict, as the rule gives it, and a letter."""
    rows = [{"concept": f"MA{i}.1", "tf": f"TF{i}", **PLAIN, **TESTED, **c} for i, c in enumerate(CHANGES.values())]
    table = pd.DataFrame(rows)
    found = verdicts(table).join(strength(table))
    assert found["verdict"].tolist() == list(CHANGES)
    rows = [row | dict(verdict) for row, verdict in zip(rows, found.to_dict("records"))]
    return [{"concept": "A", "tf": "", **PLAIN, "verdict": "not-tested"}, *rows]


class Page(HTMLParser):
    """Elements, the cells of the table's body, and the text of the scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.rows, self.scripts, self.inside = [], [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.inside = tag
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = "" if tag in ("script", "table") else self.inside

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def page_of(scores, out, **how):
    write_report(scores, out, **how)
    return Page((out / "index.html").read_text())


@pytest.fixture
def scores(tmp_path):
    facts = {"lm": {"model": "me/lm", "layer": 3}, "sae_sha256": "ab" * 32, "regions": ["chr1:11-20", "chr2:1-1000"]}
    facts |= {
        "genome": {"path": "/data/g.fa"},
        "read_strands": ["+"],
        "annotations": {"/x/sites.bed": "c"},
        "split": True,
    }
    return write_scores(tmp_path / "scores", rows_of_each_verdict(), facts)


def test_a_feature_is_described_if_a_line_lies_beside_its_scores(scores, tmp_path):
    described = scores / "describe.tsv"
    described.write_text("feature\tname\tline\nf7\tTSS\tTSS: most of its strongest places\nf9\tno name\tx\n")
    features = json.loads(page_of(scores, tmp_path / "site").scripts[0])["features"]
    assert features == {"f7": {"line": "TSS: most of its strongest places"}, "f9": {"line": "x"}}
    described.write_text("feature\tname\nf7\tTSS\n")
    with pytest.raises(SaeTracksError, match=r"describe.tsv has no column 'line'"):
        page_of(scores, tmp_path / "site2")


def test_the_table_has_a_row_a_match_in_the_order_of_the_file(scores, tmp_path):
    page = page_of(scores, tmp_path / "site")
    body = page.rows[1:]
    expected = [change.get("concept", f"MA{i}.1") for i, change in enumerate(CHANGES.values())]
    assert [row[0] for row in body] == ["A", *expected]
    assert body[1][:6] == ["MA0.1", "TF0", "+", "f/7", "supported", "0.700"]
    assert body[1][7:11] == ["+0.40", "0.30", "0.727", "200"]
    assert body[0][5:11] == ["", "", "", "", "0.727", "200"]  # no control was run


def test_the_head_says_what_was_scored(scores, tmp_path):
    write_report(scores, tmp_path / "site")
    text = (tmp_path / "site" / "index.html").read_text()
    for said in (
        "me/lm after block 3",
        "g.fa, chr1:11-20, chr2:1-1000 (1,010 bases), read on strand +",
        "sites.bed",
        "other blocks",
    ):
        assert said in text


def test_the_page_asks_for_nothing_from_elsewhere(scores, tmp_path):
    page = page_of(scores, tmp_path / "site")
    linked = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert linked and all(re.match(r"#|data:|metrics\.tsv$", value) for value in linked)
    policy = next(v for t, n, v in page.attributes if t == "meta" and n == "content" and "default-src" in v)
    assert "default-src 'none'" in policy and "http" not in policy
    assert not any(tag in page.tags for tag in ("link", "iframe", "object"))
    assert {path.name for path in (tmp_path / "site").iterdir()} == {"index.html", "metrics.tsv", "provenance.json"}


def test_the_record_beside_the_page_holds_no_folder_of_this_machine(scores, tmp_path):
    record = json.loads((scores / "provenance.json").read_text())
    record["genome"] = {"path": f"{tmp_path}/private/g.fa"}
    (scores / "provenance.json").write_text(json.dumps(record))
    write_report(scores, tmp_path / "site")
    text = (tmp_path / "site" / "provenance.json").read_text()
    assert "g.fa" in text and str(tmp_path) not in text


def test_names_of_annotations_never_become_markup(tmp_path):
    row = {"concept": EVIL, "tf": TF, **PLAIN, **TESTED, "verdict": "supported", "tf_class": TF, "next_concept": EVIL}
    page = page_of(write_scores(tmp_path / "s", [row]), tmp_path / "site", title=EVIL)
    assert page.tags.count("script") == 2
    assert page.tags.count("img") == 1  # Fig. 3
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.rows[1][:2] == [EVIL, TF]
    data = json.loads(page.scripts[0])
    assert data["columns"]["concept"] == [EVIL] and data["columns"]["tf_class"] == [TF]


def test_embedded_json_cannot_end_its_element():
    value = {"x": ["</script>", "<!--", "]]>", "\u2028", "&lt;"]}
    text = embedded(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("verdict", "numbers"),
    [
        (
            "supported",
            ["recall 0.30", "0.70 (0.60 to 0.80)", "0.40 (0.30 to 0.50)", "(k-mer TGACTC)", "TF0 motif sites"],
        ),
        ("low-power", ["Only 49 sites"]),
        ("chance", ["q = 0.31", "0.05"]),
        ("repeat", ["10 %", "Alu", "0.21 (at most 0.30)", "half of the 0.70"]),
        ("word", ["TGACTC", "AUROC 0.52 (0.48 to 0.90)"]),
        ("local-sequence", ["A probe on 31 letters reaches an average precision of 0.65"]),
        ("untrained", ["A model with permuted weights reaches an average precision of 0.62"]),
        ("dimension", ["A single dimension of the model (-17) reaches an average precision of 0.61"]),
        ("not-tested", ["These tests were not run: an untrained model"]),
    ],
)
def test_each_verdict_is_said_with_the_numbers_that_decided_it(scores, verdict, numbers):
    table = load_scores(scores)
    said = table[(table["verdict"] == verdict) & ~table["nucleotide"]]["meaning"].item()
    for number in numbers:
        assert number in said
    assert ("TF" in said) == (verdict == "supported")  # a factor is named only where the match is supported


def test_a_match_above_the_ideal_reader_is_said_to_remember(tmp_path):
    row = {
        "concept": "MA1.1",
        "tf": "X",
        **PLAIN,
        **TESTED,
        "verdict": "supported",
        "causal_ref_f1": 0.55,
        "memorised": True,
    }
    assert "above the 0.55" in load_scores(write_scores(tmp_path / "s", [row]))["meaning"].item()


def test_a_table_without_any_control_is_a_page_too(tmp_path):
    rows = [{"concept": c, "tf": "", **PLAIN, "verdict": "not-tested"} for c in ("A", "peak")]
    data = json.loads(page_of(write_scores(tmp_path / "s", rows), tmp_path / "site").scripts[0])
    assert data["profiles"] == [None, None] and data["logos"] == {}
    assert "kmer_ap" not in data["columns"] and data["columns"]["nucleotide"] == [True, False]


def test_profiles_are_those_of_the_pair_in_thousandths(tmp_path):
    scores = write_scores(tmp_path / "s", [{"concept": "M", "tf": "", **PLAIN, "verdict": "not-tested"}])
    key = {"concept": "M", "site_strand": "+", "feature": 7, "read_strand": "+"}
    rows = [
        key | {"anchor": a, "offset": o, "active": share, "n": 9}
        for a, shares in (("end", (0.5, 0.25, np.nan)), ("start", (0, 0.1234, 1)))
        for o, share in zip((-1, 0, 1), shares)
    ]
    rows += [row | {"feature": 8, "active": 0.9} for row in rows]
    pd.DataFrame(rows).to_parquet(scores / "offsets.parquet")
    (profile,) = json.loads(page_of(scores, tmp_path / "site").scripts[0])["profiles"]
    assert profile == {
        "start": [0, 123, 1000],
        "end": [500, 250, None],
        "first": -1,
        "background": None,
        "sites": 9,
        "reading": "",
    }


def test_logos_are_of_the_motifs_in_the_table_in_bits(scores, tmp_path):
    (tmp_path / "m.pfm").write_text(
        ">MA0.1 X\nA [4 1]\nC [0 1]\nG [0 1]\nT [0 1]\n>MA99.1 Y\nA [1]\nC [2]\nG [3]\nT [4]\n"
    )
    report = write_report(scores, tmp_path / "site", motifs=str(tmp_path / "m.pfm"))
    logos = json.loads(Page((tmp_path / "site" / "index.html").read_text()).scripts[0])["logos"]
    p = np.array([4.5, 0.5, 0.5, 0.5]) / 6  # 4 sites, a pseudocount of sqrt(4) / 4 a letter
    assert list(logos) == ["MA0.1"] and report.logos == 1
    assert logos["MA0.1"] == [pytest.approx(p * (2 + (p * np.log2(p)).sum()), abs=6e-4), [0, 0, 0, 0]]


def test_the_recall_of_the_table_says_at_which_precision(scores, tmp_path):
    write_report(scores, tmp_path / "site")
    html = (tmp_path / "site" / "index.html").read_text()
    assert 'data-column="recall_at_half"' in html and ">Recall at P &frac12;<" in html and ">Recall<" not in html


def test_pictures_are_shown_as_images(scores, tmp_path):
    (tmp_path / "a_b.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    page = page_of(scores, tmp_path / "site", figures=[tmp_path / "a_b.svg"])
    assert page.tags.count("script") == 2 and page.tags.count("img") == 2
    with pytest.raises(SaeTracksError, match="ends in"):
        write_report(scores, tmp_path / "site", figures=[tmp_path / "a.pdf"])
    with pytest.raises(SaeTracksError, match="cannot read the figure"):
        write_report(scores, tmp_path / "site", figures=[tmp_path / "none.png"])


def test_what_is_no_folder_of_scores_is_refused(tmp_path):
    with pytest.raises(SaeTracksError, match="no table"):
        write_report(tmp_path, tmp_path / "site")
    with pytest.raises(SaeTracksError, match="no column 'verdict'"):
        write_report(write_scores(tmp_path / "a", [{"concept": "A", **PLAIN}]), tmp_path / "site")
    odd = write_scores(tmp_path / "b", [{"concept": "A", "tf": "", **PLAIN, "verdict": "certain"}])
    with pytest.raises(SaeTracksError, match="'certain' is no verdict"):
        write_report(odd, tmp_path / "site")
    with pytest.raises(SaeTracksError, match="another folder"):
        write_report(odd, odd)
    assert not (tmp_path / "site").exists()


def test_the_verdicts_of_the_page_are_those_of_the_rule():
    assert set(OUTCOMES) == set(CHANGES)


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node")


def in_node(expression):
    """The value of an expression beside the scripts of the page."""
    folder = files("sae_tracks.report") / "assets"
    script = "\n".join((folder / name).read_text() for name in ("table.js", "charts.js", "atlas.js"))
    code = f"{script}\nconsole.log(JSON.stringify({expression}))"
    return json.loads(subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True).stdout)


@needs_node
def test_rows_sort_by_number_and_by_text_with_the_empty_ones_last():
    assert in_node("ordered([0.1, null, 0.3, 0.1, 0], false)") == [4, 0, 3, 2, 1]
    assert in_node("ordered([0.1, null, 0.3, 0.1, 0], true)") == [2, 0, 3, 4, 1]
    assert in_node("ordered(['f12', 'f2', '', 'f1'], false)") == [3, 1, 0, 2]


@needs_node
def test_a_row_passes_by_every_word_and_choice():
    row = {
        "concept": "MA0139.1",
        "tf": "CTCF",
        "feature": "f357",
        "site_strand": "-",
        "nucleotide": False,
        "verdict": "repeat",
    }
    wanted = {"search": "", "strand": "", "kind": "", "verdicts": []}

    def passes(**filters):
        return in_node(f"passes({json.dumps(row)}, {json.dumps(wanted | filters)})")

    assert (
        passes()
        and passes(search="ctcf F/357")
        and passes(strand="-", kind="annotation", verdicts=["chance", "repeat"])
    )
    assert not passes(search="ctcf rest")
    assert not (passes(strand="+") or passes(kind="nucleotide") or passes(verdicts=["chance"]))
    line = json.dumps("Alu 109-125: most of its strongest places")
    assert in_node(f"passes({json.dumps(row)}, {json.dumps(wanted | {'search': 'ctcf alu'})}, {line})")


@needs_node
def test_the_row_that_stands_for_a_feature_has_the_best_verdict():
    rows = [
        ("f1", "chance", 0.9),
        ("f1", "supported", 0.2),
        ("f1", "supported", 0.3),
        ("f2", "", None),
        ("f3", "", None),
    ]
    rows = [dict(zip(("feature", "verdict", "f1"), row)) for row in [*rows, ("f2", "chance", 0.1)]]
    found = in_node(f"[...bestRows({json.dumps(rows)}, ['supported', 'chance'])]")
    assert found == [["f1", rows[2]], ["f2", rows[5]], ["f3", rows[4]]]


@needs_node
def test_the_nearest_point_is_one_within_reach():
    points = json.dumps([[0, 0], None, [10, 0], [10, 5]])
    assert [in_node(f"nearestPoint({points}, {x}, {y})") for x, y in [(1, 1), (9, 1), (10, 4), (40, 40)]] == [
        0,
        2,
        3,
        -1,
    ]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_in_a_browser_the_address_opens_a_row_and_nothing_else_runs(tmp_path):
    rows = [
        *rows_of_each_verdict(),
        {"concept": EVIL, "tf": TF, **PLAIN, **TESTED, "verdict": "dimension", "dimension_ap": 0.65},
    ]
    write_report(write_scores(tmp_path / "s", rows), tmp_path / "site")
    address = f"{(tmp_path / 'site' / 'index.html').as_uri()}#%3Cscript%3Ealert(1)%3C%2Fscript%3E%2C%2B"
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--virtual-time-budget=2000",
    ]
    command = ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", address]
    page = Page(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)
    current = [v for t, n, v in page.attributes if t == "tr" and n == "aria-current"]
    assert current == ["true"]
    assert page.tags.count("script") == 2 and page.tags.count("img") == 1
    assert ("rect", "class", "reaches") in page.attributes  # the dimension's mark
    assert page.attributes.count(("svg", "class", "chart")) == 2  # beside rivals, by AP and by F1


def test_the_settings_on_a_page_name_no_folder_of_this_machine():
    facts = {"command": "sae-tracks metrics /home/me/sae", "lm": {"model": "/home/me/lm", "layer": 2}, "empty": []}
    assert settings(facts) == [("command", "sae-tracks metrics sae"), ("lm", "model lm; layer 2")]


def test_a_score_that_is_infinite_is_a_blank():
    table = pd.DataFrame({"f1": [0.5, np.inf, -np.inf], "n": [np.inf] * 3})
    assert columns_of(table) == {"f1": [0.5, None, None]}
