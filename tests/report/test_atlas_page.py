"""The map of the page in a browser, and where the page finds what explains features."""

import re

import pandas as pd
import pytest
import torch
from alike import alike_source
from browser import CHROMIUM, FLAGS, WAIT, playwright, watched
from serving import serving
from test_report import PLAIN, TESTED, write_scores

from sae_tracks.errors import SaeTracksError
from sae_tracks.insight.atlas import atlas
from sae_tracks.report import view_site, write_report
from sae_tracks.source import Source


@pytest.fixture
def source(tmp_path):
    return alike_source(tmp_path)


@pytest.fixture
def scores(source, tmp_path):
    """A folder of scores with an atlas: f2 matches, f3 does not, f4 has no row."""
    rows = [
        {"concept": "MA0.1", "tf": "TF0", **PLAIN, **TESTED, "verdict": "supported", "feature": "f2"},
        {"concept": "MA1.1", "tf": "TF1", **PLAIN, **TESTED, "verdict": "chance", "feature": "f3"},
    ]
    folder = write_scores(tmp_path / "scores", rows, {"sae_sha256": source.sae.checksum})
    atlas(source).write(folder)
    (folder / "describe.tsv").write_text("feature\tname\tline\nf4\tno name\tno name: never active\n")
    return folder


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_point_of_the_map_opens_its_feature(scores):
    with playwright.sync_playwright() as started, serving(view_site(scores)) as server:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=WAIT)
        page, _, complaints = watched(browser)
        expect, title = playwright.expect, page.locator("#detail h2")
        page.goto(f"{server.url}#f4")
        expect(title).to_have_text("f/4")
        assert "no name: never active" in page.locator("#detail").inner_text()
        assert page.locator("#map").is_hidden()
        page.locator("#view").select_option("decoder")
        assert page.locator("#map").is_visible() and page.locator(".scroll").is_hidden()
        assert "30 features by the cosine" in page.locator("#map .note").inner_text()
        page.locator("#detail a", has_text="f/").first.click()  # a neighbour
        expect(title).not_to_have_text("f/4")
        assert click_on(page, "f2").startswith("f/2 MA0.1 (+) supported")
        expect(title).to_have_text(re.compile("^MA0.1 TF0"))
        assert page.locator("#table tr[aria-current]").count() == 1
        page.locator("#search").fill("never active")  # its line
        assert page.locator("#shown").inner_text() == "0 of 2 rows"
        click_on(page, "f4")
        expect(title).to_have_text("f/4")
        drag_and_let_go(page)
        page.locator("#reset").click()  # also of the view
        expect(page.locator(".scroll")).to_be_visible()
        assert page.locator("#map").is_hidden()
        assert complaints == []
        browser.close()


def click_on(page, feature):
    """Move to the point of a feature, where the page must say so, and click."""
    page.locator("#map canvas").scroll_into_view_if_needed()
    place = page.evaluate(
        """(feature) => {
          const { atlas } = JSON.parse(document.getElementById('data').textContent);
          const plane = atlas[document.getElementById('view').value];
          const canvas = document.querySelector('#map canvas');
          const unit = 0.92 * Math.min(canvas.clientWidth, canvas.clientHeight) / Math.max(...plane.x, ...plane.y);
          const i = atlas.feature.indexOf(feature), edge = canvas.getBoundingClientRect();
          return [edge.left + canvas.clientWidth / 2 + (plane.x[i] - Math.max(...plane.x) / 2) * unit,
                  edge.top + canvas.clientHeight / 2 - (plane.y[i] - Math.max(...plane.y) / 2) * unit];
        }""",
        feature,
    )
    page.mouse.move(*place)
    told = page.locator("#map output").inner_text()
    page.mouse.click(*place)
    return told


def drag_and_let_go(page):
    """A drag moves the map, and only as long as the button is down; the right button opens nothing."""
    box, picture = page.locator("#map canvas").bounding_box(), lambda: page.locator("#map canvas").screenshot()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before, hash = picture(), page.evaluate("location.hash")
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1] + 30)
    page.mouse.up()
    moved = picture()
    page.mouse.move(middle[0] - 60, middle[1])
    page.mouse.click(*middle, button="right")
    page.mouse.move(middle[0] - 90, middle[1])
    page.mouse.move(box["x"] + 2, box["y"] + 2)  # where no point is told of
    assert before != moved == picture() and page.evaluate("location.hash") == hash


def test_what_explains_features_must_be_there_once_and_of_this_sae(scores, source, tmp_path):
    other = tmp_path / "other"
    atlas(source).write(other)
    with pytest.raises(SaeTracksError, match=r"two folders have atlas.tsv"):
        write_report(scores, tmp_path / "site", explained=[other])
    with pytest.raises(SaeTracksError, match=r"explains no feature: it has none of describe.tsv, motifs.meme"):
        write_report(scores, tmp_path / "site", explained=[tmp_path])
    (tmp_path / "motifs").mkdir()
    (tmp_path / "motifs" / "motifs.meme").write_text("MEME version 4\n\nALPHABET= ACGT\n")  # `motifs` found none
    write_report(scores, tmp_path / "none", explained=[tmp_path / "motifs"])
    (scores / "atlas.tsv").unlink()
    write_report(scores, tmp_path / "site", explained=[other])
    assert "map by decoder" in (tmp_path / "site" / "index.html").read_text()
    source.sae.b_dec += torch.ones(6)
    atlas(Source(source.lm, source.sae, source.genome)).write(other)
    with pytest.raises(SaeTracksError, match=r"atlas\.tsv is of another SAE"):
        write_report(scores, tmp_path / "site", explained=[other])


@pytest.mark.parametrize("kept", [0, 30])
def test_an_atlas_without_places_is_refused(scores, tmp_path, kept):
    table = pd.read_csv(scores / "atlas.tsv", sep="\t", dtype=str).assign(activity_x="").head(kept)
    table.to_csv(scores / "atlas.tsv", sep="\t", index=False)
    with pytest.raises(SaeTracksError, match=r"atlas\.tsv: no feature has a place in .*run sae-tracks atlas again"):
        write_report(scores, tmp_path / "site")


@pytest.mark.parametrize("wrong", ["nan", "-inf", "9" * 400, "x"])
def test_a_similarity_that_is_no_finite_number_is_refused(scores, tmp_path, wrong):
    table = pd.read_csv(scores / "atlas.tsv", sep="\t", dtype=str)
    table.loc[0, "decoder_cosine"] = re.sub(r"^[^,]+", wrong, table.loc[0, "decoder_cosine"])
    table.to_csv(scores / "atlas.tsv", sep="\t", index=False)
    with pytest.raises(SaeTracksError, match=r"atlas\.tsv: column decoder_cosine: .*run sae-tracks atlas again"):
        write_report(scores, tmp_path / "site")
