"""The page with tracks in a real browser: what a person clicks through, drawn by igv.js, without a network."""

import time

import pytest
from browser import CHROMIUM, FLAGS, WAIT, playwright, watched
from serving import serving
from test_report import EVIL, PLAIN, TESTED, write_scores
from test_signals_page import ATAC, profile_of, write_signals
from test_view import write_tracks

from sae_tracks.report import choose_tracks, make_page, view_site, write_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
BLUE, ORANGE = (0, 114, 178), (213, 94, 0)  # of the first and the second feature
INPUT = "document.querySelector('#genome > div').shadowRoot?.querySelector('.igv-search-input')"
ROWS = [
    {"concept": "MA0.1", "tf": "TF0", **PLAIN, **TESTED, "verdict": "supported"},
    {"concept": "MA1.1", "tf": "TF1", **PLAIN, **TESTED, "verdict": "chance", "decoy_q": 0.5, "f1": 0.9},
    {"concept": "MA2.1", "tf": "TF2", **PLAIN, **TESTED, "verdict": "supported", "f1": 0.3},
    {"concept": EVIL, "tf": "TF3", **PLAIN, "verdict": "not-tested", "f1": 0.1},
]
FEATURES = [("f7", "+"), ("f12", "+"), ("f12", "-"), ("f99", "+")]


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=WAIT)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """A page that is open, and what it asked for and complained of."""
    tracks = write_tracks(tmp_path / "work" / "tracks")
    with (tracks / "sites.bed").open("a") as sites:
        sites.write(f"chr1\t1190\t1200\t{EVIL}\t5\t+\n")
    motifs = ["chr1\t2000\t2010\tMA9.1\t400\t+\tCTCF", "chr1\t200\t210\tMA9.1\t900\t-\tCTCF"]
    motifs += ["chr2\t2\t12\tMA9.1\t900\t+\tCTCF", "chr2\t300\t310\tMA9.2\t950\t+\tCTCF"]
    (tracks / "motifs.bed").write_text("\n".join(motifs) + "\n")
    rows = [row | {"feature": f, "read_strand": s} for row, (f, s) in zip(ROWS, FEATURES)]
    scores = write_scores(tmp_path / "scores", rows)
    with serving(view_site(scores, tracks)) as server:
        page, asked, complaints = watched(chromium)
        page.goto(server.url)
        yield page, asked, complaints, server.url
        page.close()


def locus(page):
    """Where igv.js says that it is."""
    return page.locator("#genome .igv-search-input").input_value().replace(",", "")


def until(page, expression, argument=None):
    """Ask again and again until it is true; the page's policy forbids that Playwright does so within the page."""
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(expression, argument):
        assert time.monotonic() < end, f"not true after {WAIT / 1000:g} s: {expression}"
        page.wait_for_timeout(50)


def wait_for_locus(page, text):
    until(page, f"{INPUT}?.value.replaceAll(',', '') === '{text}'")


def wait_for_colour(page, colour):
    """Until a canvas of the genome browser has pixels of a colour."""
    until(
        page,
        """(colour) => {
          const root = document.querySelector('#genome > div').shadowRoot;
          return root && [...root.querySelectorAll('.igv-viewport canvas')].some((canvas) => {
            if (!canvas.width || !canvas.height) return false;
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let found = 0;
            for (let i = 0; i < data.length; i += 4) found += [...colour, 255].every((part, k) => data[i + k] === part);
            return found > 20;
          });
        }""",
        list(colour),
    )


def tracks_of(page):
    return page.locator("#genome .igv-track-label").all_text_contents()


def test_a_person_sorts_searches_opens_and_jumps(opened):
    page, asked, complaints, url = opened
    wait_for_locus(page, "chr1:1121-1280")  # of the first match that is supported: where f7 is highest
    wait_for_colour(page, BLUE)
    assert {"f7", "f12 read +", "f12 read -", "sites.bed"} <= set(tracks_of(page))
    assert page.locator("#detail h2").inner_text().startswith("MA0.1 TF0")
    assert page.locator("#track .loci button").all_inner_texts()[0].split() == ["chr1:1,201", "5"]
    assert page.locator("#track svg[aria-label='Logo of 31 positions']").is_visible()
    assert page.locator("#track svg[aria-label='Bases by activation, from 0 to 5.00']").is_visible()

    page.locator("#track .loci button").nth(2).click()
    wait_for_locus(page, "chr1:421-580")

    for name, place in (("ma9.1", "chr1:126-285"), ("CTCF", "chr2:226-385"), ("chr2:100-200", "chr2:100-200")):
        page.locator("#genome .igv-search-input").fill(
            name
        )  # of sites: the strongest; of a factor: that of its matrices
        page.locator("#genome .igv-search-input").press("Enter")
        wait_for_locus(page, place)
    page.locator("#genome .igv-search-input").fill("chr2:1,000-1,100")
    page.locator("#genome .igv-search-input").press("Enter")
    page.get_by_text("chr2 has 400 bases").wait_for()
    page.locator("#genome").get_by_text("OK", exact=True).locator("visible=true").click()

    page.get_by_role("button", name="F1", exact=True).click()
    names = [text.split("\t")[0] for text in page.locator("#table tbody tr").all_inner_texts()]
    assert names == ["MA1.1", "MA0.1", "MA2.1", EVIL]

    page.locator("#search").fill("tf1")
    assert page.locator("#table tbody tr:visible").count() == 1
    page.locator("#table tbody tr:visible").click()
    wait_for_locus(page, "chr2:1-160")
    wait_for_colour(page, ORANGE)
    assert page.locator("#detail h2").inner_text().startswith("MA1.1 TF1")
    assert complaints == []
    assert asked and all(address.startswith((url, "data:")) for address in asked)


def test_density_and_top_locus_of_every_track_come_into_the_table(opened):
    page, _, _, _ = opened
    until(page, "document.querySelectorAll('#table tbody tr')[2].cells[12].textContent")
    cells = [text.split("\t")[-2:] for text in page.locator("#table tbody tr").all_inner_texts()]
    assert cells[0] == ["0.18 %", "chr1:1,201"] and cells[1] == ["0.029 %", "chr2:34"]  # 6 and 1 of 3,400 bases
    assert cells[3] == ["", ""]
    page.get_by_role("button", name="Density").click()
    assert page.locator("#table tbody tr").first.inner_text().startswith("MA0.1")


def test_it_is_all_within_reach_of_the_keyboard(opened):
    page, _, complaints, _ = opened
    wait_for_locus(page, "chr1:1121-1280")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("ma1")
    page.keyboard.press("Escape")
    page.locator("#table tbody tr a:visible").first.focus()
    page.locator("#search").fill("")
    page.locator("#table tbody tr a").first.focus()
    page.keyboard.press("ArrowDown")
    until(page, "document.querySelector('#detail h2').textContent.startsWith('MA1.1')")
    wait_for_locus(page, "chr2:1-160")
    page.keyboard.press("ArrowUp")
    wait_for_locus(page, "chr1:1121-1280")
    page.locator("#track .loci button").nth(1).focus()
    page.keyboard.press("Enter")
    wait_for_locus(page, "chr1:1921-2080")
    page.locator("#genome .igv-search-input").focus()
    page.keyboard.type("/")  # a letter there, not the way to the page's own search
    assert page.locator("#genome .igv-search-input").input_value().endswith("/")
    assert complaints == []


@pytest.mark.parametrize("width", [1280, 1440])  # below the table, and in half of the page
def test_the_toolbar_fits_into_its_place(opened, width):
    page, _, _, _ = opened
    page.set_viewport_size({"width": width, "height": 800})
    wait_for_locus(page, "chr1:1121-1280")
    right = "(selector) => { const root = document.querySelector('#genome > div').shadowRoot;"
    right += " return root.querySelector(selector).getBoundingClientRect().right; }"
    zoom, pane = (page.evaluate(right, selector) for selector in ("[class^='igv-zoom-widget']", ".igv-navbar"))
    assert zoom <= pane


def test_a_row_without_a_track_says_so_and_names_stay_text(opened):
    page, _, complaints, _ = opened
    wait_for_locus(page, "chr1:1121-1280")
    page.locator("#table tbody tr").nth(3).click()
    page.get_by_text("No track of f/99 is here").wait_for()
    assert page.locator("#detail h2").inner_text().startswith(EVIL)
    assert locus(page) == "chr1:1121-1280"
    assert complaints == []


def test_of_many_features_only_those_that_are_open_or_kept_are_shown(chromium, tmp_path):
    tracks = write_tracks(tmp_path / "work" / "tracks")
    for feature in range(20, 26):
        (tracks / f"f{feature}.bw").write_bytes((tracks / "f7.bw").read_bytes())
    with serving(make_page(None, choose_tracks(tracks)).files) as server:
        page, _, complaints = watched(chromium)
        page.goto(f"{server.url}#f7%2C%2B")
        wait_for_locus(page, "chr1:1121-1280")
        assert [name for name in tracks_of(page) if name.startswith("f")] == ["f7"]
        page.get_by_label("keep the track").check()
        page.goto(f"{server.url}#f12%2C-")
        wait_for_locus(page, "chr2:1-160")
        assert [name for name in tracks_of(page) if name.startswith("f")] == ["f12 read +", "f12 read -", "f7"]
        page.goto(f"{server.url}#f20%2C%2B")
        wait_for_locus(page, "chr1:1121-1280")
        assert [name for name in tracks_of(page) if name.startswith("f")] == ["f20", "f7"]
        assert complaints == []
        page.close()


def test_the_static_copy_is_the_same_page_and_says_so_where_there_is_no_server(chromium, tmp_path):
    tracks = write_tracks(tmp_path / "work" / "tracks")
    scores = write_scores(tmp_path / "scores", [{**ROWS[0], "feature": "f7"}])
    write_report(scores, tmp_path / "site", choose_tracks(tracks))
    with serving(view_site(tmp_path / "site")) as server:
        page, asked, complaints = watched(chromium)
        page.goto(server.url)
        wait_for_locus(page, "chr1:1121-1280")
        wait_for_colour(page, BLUE)
        assert complaints == [] and all(address.startswith((server.url, "data:")) for address in asked)
        page.goto((tmp_path / "site" / "index.html").as_uri())
        page.get_by_text("it needs a web server").wait_for()
        assert page.locator("#detail h2").inner_text().startswith("MA0.1")
        page.close()


def test_feature_motif_and_genes_are_on_one_screen(opened):
    page, *_ = opened
    page.set_viewport_size({"width": 1400, "height": 900})
    wait_for_locus(page, "chr1:1121-1280")
    page.locator("#table tbody tr").nth(1).click()
    page.locator("#track svg[aria-label^=Logo]").wait_for()
    until(page, "scrollY > 0")
    for part in ("#table tbody tr[aria-current]", "#detail h2", "#track svg[aria-label^=Logo]", "#genome .igv-navbar"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 900, part
    assert "sites.bed" in tracks_of(page)


@pytest.mark.parametrize("width", [1100, 1300, 1440, 1700])
def test_the_last_column_of_the_table_is_seen_at_every_width(opened, width):
    page, *_ = opened
    page.set_viewport_size({"width": width, "height": 900})
    until(page, "document.querySelector('#table tbody tr').cells[12].textContent !== ''")
    edges = """(() => {
      const [head] = [...document.querySelectorAll('#table thead th')].slice(-1);
      return [head.getBoundingClientRect().right, document.querySelector('.scroll').getBoundingClientRect().right];
    })()"""
    column, table = page.evaluate(edges)
    assert column <= table + 0.5


def test_signals_are_seen_at_every_width_and_the_table_above_still_sorts(chromium, tmp_path):
    scores, profiles = write_scores(tmp_path / "scores", ROWS), profile_of(1.0, signal=EVIL)
    write_report(write_signals(scores, [ATAC | {"signal": EVIL, "says": EVIL}], profiles), tmp_path / "site")
    page, asked, complaints = watched(chromium)
    page.goto((tmp_path / "site" / "index.html").as_uri())
    page.get_by_role("button", name="F1", exact=True).click()
    assert page.locator("#table tbody tr").first.inner_text().startswith("MA1.1")
    assert page.locator("#signals tbody th").inner_text() == EVIL
    for width in (1500, 1200, 420):
        page.set_viewport_size({"width": width, "height": 900})
        chart, section = (page.locator(part).bounding_box() for part in ("#signals svg.chart", "#signals"))
        assert chart["width"] > 200 and chart["x"] + chart["width"] <= section["x"] + section["width"], width
    assert complaints == [] and all(address.startswith(("file:", "data:")) for address in asked)
    page.close()
