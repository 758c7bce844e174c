"""The session in igv.js: the real library in a real browser draws it as it says, without a network."""

import shutil
from importlib.resources import files

import pytest
from browser import FLAGS, WAIT, watched
from serving import serving
from session_tracks import BASES, assert_on_one_scale, write_folder

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
PAGE = b"""<!doctype html><meta charset="utf-8"><title>session</title><link rel="icon" href="data:,">
<div id="igv"></div><script src="igv.min.js"></script>
<script type="module">
const session = await (await fetch("session.json")).json();
window.it = await igv.createBrowser(document.getElementById("igv"), session);
</script>"""


@pytest.fixture
def page(tmp_path):
    _, web = write_folder(tmp_path)
    here = {f"my tracks #1/{path.name}": path for path in web.parent.iterdir()}
    library = (files("sae_tracks.report") / "assets" / "vendor" / "igv.min.js").read_bytes()
    site = {"my tracks #1/index.html": PAGE, "my tracks #1/igv.min.js": library, **here}
    site |= {path.name: path for path in tmp_path.iterdir() if path.is_file()}
    with playwright.sync_playwright() as started, serving(site) as server:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=WAIT)
        page, asked, complaints = watched(browser)
        page.goto(f"{server.url}my%20tracks%20%231/index.html")
        page.wait_for_function("window.it", timeout=WAIT)
        yield page
        browser.close()
        assert complaints == []
        assert all(address.startswith((server.url, "data:")) for address in asked)


def test_igv_js_draws_the_session(page, tmp_path):
    names = page.evaluate("it.trackViews.map((view) => view.track.name).filter(Boolean)")
    assert {"f1", "f2 read +", "f2 read -", "sites.bed"} <= set(names)
    page.screenshot(path=tmp_path / "near.png")
    assert_on_one_scale(tmp_path / "near.png")
    page.evaluate(f"it.search('chr1:1-{BASES}')")
    page.screenshot(path=tmp_path / "far.png")
    assert_on_one_scale(tmp_path / "far.png")
