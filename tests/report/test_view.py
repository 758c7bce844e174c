"""The page with tracks: what is found in a folder, what the page holds, and how `view` begins and ends."""

import base64
import hashlib
import json
import queue
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pysam
import pytest
from test_report import CHANGES, Page, rows_of_each_verdict, write_scores
from test_view_loci import write_bigwig

from sae_tracks.errors import SaeTracksError
from sae_tracks.report import choose_tracks, make_page, serve, view_site, write_report
from sae_tracks.report.serve import PageServer
from sae_tracks.report.tracks import track_facts

WORD, PEAKS = "GATTACA", (500, 1200, 2000)


def write_tracks(folder):
    """A genome, f7 with a peak on the last base of each planted `WORD`, f12 in both read strands, and sites."""
    folder.mkdir(parents=True)
    genome = folder.parent / "toy.fa"
    rng = np.random.default_rng(0)
    letters = {c: rng.choice(list("ACGT"), n) for c, n in (("chr1", 3000), ("chr2", 400))}
    for peak in PEAKS:
        letters["chr1"][peak - len(WORD) + 1 : peak + 1] = list(WORD)
    lines = (
        f">{c}\n" + "".join(f"{''.join(bases[i : i + 60])}\n" for i in range(0, len(bases), 60))
        for c, bases in letters.items()
    )
    genome.write_text("".join(lines))
    pysam.faidx(str(genome))
    track = np.zeros(3000)
    for value, peak in zip((3, 5, 4), PEAKS):
        track[peak - 1 : peak + 1] = value - 1, value
    write_bigwig(folder / "f7.bw", {"chr1": track, "chr2": np.zeros(400)})
    for strand, value in (("plus", 2.0), ("minus", 8.0)):
        write_bigwig(folder / f"f12.{strand}.bw", {"chr1": np.zeros(3000), "chr2": np.eye(1, 400, 33)[0] * value})
    (folder / "sites.bed").write_text("".join(f"chr1\t{p - 6}\t{p + 1}\tMA0.1\t900\t+\n" for p in PEAKS))
    facts = {"lm": {"model": "me/lm", "layer": 3}, "genome": {"path": str(genome)}, "regions": ["chr1:1-3000"]}
    (folder / "provenance.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def tracks(tmp_path):
    return write_tracks(tmp_path / "work" / "tracks")


@pytest.fixture
def scores(tmp_path):
    facts = {"lm": {"model": "me/lm", "layer": 3}}
    return write_scores(tmp_path / "scores", rows_of_each_verdict(), facts)


def data_of(site):
    return json.loads(Page(site["index.html"].decode()).scripts[-2])


def test_the_files_of_the_page_are_those_that_the_browser_is_told_of(scores, tracks):
    genes = tracks.parent / "genes.gtf"
    genes.write_text('chr1\tx\texon\t11\t20\t.\t+\t.\tgene_id "g"; transcript_id "t";\n')
    site = make_page(scores, choose_tracks(tracks, None, [genes])).files
    browser = data_of(site)["browser"]
    told_of = [browser["reference"][name] for name in ("fastaURL", "indexURL")]
    told_of += [
        track[name] for strands in browser["features"].values() for track in strands for name in ("url", "loci")
    ]
    told_of += [annotation["url"] for annotation in browser["annotations"]]
    assert set(told_of) | {"index.html", "metrics.tsv", "igv.min.js", "igv.LICENSE.txt"} == set(site)
    assert [(a["name"], a["format"]) for a in browser["annotations"]] == [("sites.bed", "bed"), ("genes.gtf", "gtf")]


def test_both_read_strands_of_a_feature_share_scale_and_colour(tracks):
    features = data_of(make_page(None, choose_tracks(tracks)).files)["browser"]["features"]
    assert list(features) == ["f7", "f12"]
    plus, minus = features["f12"]
    assert (plus["strand"], minus["strand"], plus["max"], minus["max"]) == ("+", "-", 8, 8)
    assert plus["color"] == minus["color"] != features["f7"][0]["color"]


def test_names_of_files_are_percent_encoded_in_addresses(tracks):
    (tracks / "sites.bed").rename(tracks / "a#b %?.bed")
    site = make_page(None, choose_tracks(tracks)).files
    (annotation,) = data_of(site)["browser"]["annotations"]
    assert annotation["url"] == "annotations/a%23b%20%25%3F.bed" and "annotations/a#b %?.bed" in site


def test_a_compressed_genome_and_an_annotation_come_with_their_indexes(tracks, tmp_path):
    fasta, bed = tmp_path / "toy.fa.gz", tracks / "sites.bed"
    pysam.tabix_compress(str(tracks.parent / "toy.fa"), str(fasta))
    pysam.tabix_index(str(bed), preset="bed")  # compresses it, too
    site = make_page(None, choose_tracks(tracks, fasta)).files
    browser = data_of(site)["browser"]
    assert browser["reference"]["compressedIndexURL"] == "genome/toy.fa.gz.gzi" and "genome/toy.fa.gz.gzi" in site
    (annotation,) = browser["annotations"]
    assert annotation["indexURL"] == "annotations/sites.bed.gz.tbi" and "annotations/sites.bed.gz.tbi" in site


def test_what_is_told_of_a_track_is_where_it_is_highest_and_the_letters_there(tracks):
    facts = json.loads(track_facts(tracks / "f7.bw", tracks.parent / "toy.fa"))
    assert [(locus["at"], locus["value"]) for locus in facts["loci"]] == [
        ("chr1:1,201", 5),
        ("chr1:2,001", 4),
        ("chr1:501", 3),
    ]
    assert facts["loci"][0]["view"] == "chr1:1121-1280"
    assert (facts["windows"], facts["flank"], facts["active"], facts["bases"]) == (3, 15, 6, 3400)
    logo = np.array(facts["logo"])
    planted = slice(facts["flank"] - len(WORD) + 1, facts["flank"] + 1)
    assert logo.shape == (31, 4) and "".join("ACGT"[i] for i in logo[planted].argmax(axis=1)) == WORD
    assert logo[planted].sum(axis=1).min() > logo[facts["flank"] + 1 :].sum(axis=1).mean()


def test_a_window_over_the_end_of_a_contig_or_an_n_gives_no_letters(tracks):
    write_bigwig(tracks / "f7.bw", {"chr1": np.eye(1, 3000, 14)[0], "chr2": np.eye(1, 400, 399)[0]})
    facts = json.loads(track_facts(tracks / "f7.bw", tracks.parent / "toy.fa"))
    assert (facts["windows"], facts["logo"], facts["loci"][0]["view"]) == (0, None, "chr1:1-160")
    assert facts["loci"][1]["view"] == "chr2:241-400"
    fasta = tracks.parent / "toy.fa"
    text = fasta.read_text()
    at = text.index("\n", text.index(">chr2")) + 10
    fasta.write_text(f"{text[:at]}N{text[at + 1 :]}")
    (tracks.parent / "toy.fa.fai").unlink()
    write_bigwig(tracks / "f7.bw", {"chr2": np.eye(1, 400, 15)[0]})
    assert json.loads(track_facts(tracks / "f7.bw", fasta))["windows"] == 0


def test_tracks_without_a_score_have_rows_of_their_own(scores, tracks):
    page = make_page(scores, choose_tracks(tracks))
    columns = data_of(page.files)["columns"]
    scored = len(CHANGES) + 1
    assert page.matches == scored and columns["feature"][scored:] == ["f12", "f12"]  # f7 + has scores
    assert columns["read_strand"][scored:] == ["+", "-"] and columns["verdict"][scored:] == ["", ""]
    table = Page(page.files["index.html"].decode()).rows
    assert len(table) == 1 + scored + 2 and all(len(row) == 13 for row in table)
    alone = data_of(make_page(None, choose_tracks(tracks)).files)["columns"]
    assert alone["feature"] == ["f7", "f12", "f12"] and "f1" not in alone


def test_the_policy_allows_what_lies_beside_the_page_and_only_with_tracks(scores, tracks):
    def policy(site):
        page = Page(site["index.html"].decode())
        return next(v for t, n, v in page.attributes if t == "meta" and n == "content" and "default-src" in v)

    plain, tracked = (policy(make_page(scores, chosen).files) for chosen in (None, choose_tracks(tracks)))
    assert "connect-src" not in plain and "'self'" not in plain
    assert re.search(r"script-src 'sha256-\S+' 'self'; connect-src 'self'$", tracked)
    assert "http" not in tracked and "eval" not in tracked


def test_the_library_of_the_page_is_the_one_it_expects(scores, tracks):
    site = make_page(scores, choose_tracks(tracks)).files
    attributes = Page(site["index.html"].decode()).attributes
    (expected,) = [value for tag, name, value in attributes if (tag, name) == ("script", "integrity")]
    assert expected == f"sha256-{base64.b64encode(hashlib.sha256(site['igv.min.js']).digest()).decode()}"


def test_a_folder_of_work_is_found_with_its_scores_and_tracks(scores, tracks):
    scores.rename(tracks.parent / "metrics")
    site = view_site(tracks.parent)
    assert {"metrics.tsv", "tracks/f7.bw", "genome/toy.fa"} <= set(site)
    assert "tracks/f7.bw" not in view_site(tracks.parent / "metrics")
    assert "metrics.tsv" not in view_site(tracks)
    assert set(view_site(tracks.parent / "metrics", tracks)) == set(site)


def test_a_page_that_was_written_is_served_as_it_is(scores, tracks, tmp_path):
    write_report(scores, tmp_path / "site", choose_tracks(tracks))
    written, served = view_site(tmp_path / "site"), view_site(scores, tracks)
    assert set(written) == set(served) | {"provenance.json"}
    for address, content in served.items():
        expected = content() if callable(content) else content if isinstance(content, bytes) else content.read_bytes()
        assert written[address].read_bytes() == expected
    with pytest.raises(SaeTracksError, match="nothing can be added"):
        view_site(tmp_path / "site", tracks)


def test_links_out_of_the_folder_are_left_out(tracks, tmp_path, caplog):
    (tmp_path / "f9.bw").write_bytes((tracks / "f7.bw").read_bytes())
    (tmp_path / "secret.bed").write_text("chr1\t1\t2\n")
    (tracks / "f9.bw").symlink_to(tmp_path / "f9.bw")
    (tracks / "other.bed").symlink_to(tmp_path / "secret.bed")
    (tracks / "f8.bw").symlink_to(tracks / "f7.bw")
    site = view_site(tracks)
    assert "tracks/f8.bw" in site and not {"tracks/f9.bw", "annotations/other.bed"} & set(site)
    assert "f9.bw is a link out of its folder" in caplog.text


def test_a_folder_that_was_moved_with_its_genome_is_still_whole(tracks, tmp_path):
    tracks.parent.rename(tmp_path / "moved")
    site = view_site(tmp_path / "moved")
    assert site["genome/toy.fa"] == (tmp_path / "moved" / "toy.fa").resolve()


def test_mistakes_are_said_in_one_line(scores, tracks, tmp_path):
    def error(*arguments):
        with pytest.raises(SaeTracksError) as caught:
            view_site(*arguments)
        return str(caught.value)

    assert "no folder" in error(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "nothing to look at" in error(tmp_path / "empty")
    assert "name them with --tracks" in error(scores, None, tracks.parent / "toy.fa")
    assert "no folder of tracks" in error(scores, tmp_path / "none")
    assert "is no file that the browser shows" in error(tracks, None, None, [tmp_path / "a.txt"])
    (tmp_path / "other.fa").write_text(">chr1\n" + "A" * 2999 + "\n")
    assert "chr1 has 3,000 bases, but 2,999 in other.fa" in error(tracks, None, tmp_path / "other.fa")
    (tracks.parent / "toy.fa").unlink()
    assert "is not there: give it with --genome" in error(tracks)
    (tracks / "provenance.json").unlink()
    assert "names none: give it with --genome" in error(tracks)
    with pytest.raises(SaeTracksError, match="another folder"):
        write_report(scores, scores)


def test_the_page_is_opened_in_the_browser_of_the_user(monkeypatch):
    opened = queue.Queue()

    def until_opened(server):
        assert opened.get(timeout=60) == server.url
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", opened.put)
    monkeypatch.setattr(PageServer, "serve_forever", until_opened)
    serve({"index.html": b"page"})


def test_ctrl_c_ends_it_cleanly(tracks):
    words = [sys.executable, "-m", "sae_tracks", "view", str(tracks), "--no-browser"]

    def heed_ctrl_c():  # a shell starts what it runs in the background without
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, preexec_fn=heed_ctrl_c, **pipes) as process:  # noqa: PLW1509
        try:
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
            with urllib.request.urlopen(f"{url}loci/f7.json", timeout=600) as answer:
                assert json.load(answer)["active"] == 6
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 0
    assert said.splitlines()[-1] == "stopped" and "Traceback" not in said
