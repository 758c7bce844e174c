"""bigWigs through igv.js's own reader, in a real browser over byte ranges: every base and every zoom level."""

from importlib.resources import files

import numpy as np
import pytest
from browser import CHROMIUM, FLAGS, WAIT, playwright, watched
from serving import serving
from test_bigwig_values import SixteenthsLM
from toy import random_dna
from track_oracle import activations, toy_source

from sae_tracks.tracks import write_bigwigs
from sae_tracks.tracks.folder import track_name

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
OWN, C, ZERO = 0, 1, 3  # a value of its own on every base, runs of one base, 0 everywhere: no contig has a T
RECORDS = {
    "blocks": random_dna(2600, letters="ACG"),  # more runs than a block takes
    "short": "CA",  # shorter than a window
    "one": "C",
    "borders": "N" * 7 + "CANNCN" + "A" * 40 + "R" + "C" * 30 + "NNN",
    "gap": "C" * 30 + "N" * 150 + "CA" * 20,
    "unknown": "N" * 150,
}
PAGE = b'<!doctype html><link rel="icon" href="data:,"><body><script src="igv.min.js"></script>'
READ = """
async ([url, contigs, scales]) => {
  window.browser ??= await igv.createBrowser(document.body, {
    loadDefaultGenomes: false, reference: { fastaURL: 'toy.fa', indexURL: 'toy.fa.fai' } });
  const { featureSource } = await window.browser.loadTrack({ type: 'wig', format: 'bigwig', url });
  const read = async (chr, end, bpPerPixel, windowFunction) => {
    const found = await featureSource.getFeatures({ chr, start: 0, end, bpPerPixel, windowFunction });
    return found.map((run) => [run.start, run.end, run.value]);
  };
  const answer = [];
  for (const [name, length] of contigs) {
    const own = [await read(name, length, 0.1, 'mean')];
    for (const scale of scales) {
      for (const how of ['min', 'max', 'mean']) own.push(await read(name, length, scale, how));
    }
    answer.push(own);
  }
  return answer;
}
"""
SCALES = [65, 257, 1025]  # bases a pixel: igv.js takes the largest bins that are smaller


def painted(runs, length):
    """A value a base, NaN where there is none; no base may have two."""
    values, seen = np.full(length, np.nan), np.zeros(length, int)
    for start, end, value in runs:
        values[start:end] = value
        seen[start:end] += 1
    assert seen.max() <= 1 and all(0 <= start < end <= length for start, end, _ in runs)
    return values


def check_bins(runs, values, size, statistic):
    """Each record says what its bases hold, and every base with a value is in one."""
    covered = np.full(len(values), False)
    for start, end, value in runs:
        assert start // size == (end - 1) // size
        assert value == pytest.approx(statistic(values[start:end]), rel=1e-6)
        covered[start:end] = True
    assert covered[~np.isnan(values)].all()


def test_igvjs_reads_every_base_as_the_model_had_it_and_every_zoom_level_as_its_bases_are():
    with toy_source(RECORDS, strands=["+", "-"]) as (source, folder), playwright.sync_playwright() as started:
        source.lm = SixteenthsLM()
        write_bigwigs(source, [OWN, C, ZERO], folder)
        truth = {key: found for key, found in activations(source).items() if key[0] in (OWN, C, ZERO)}
        source.regions = [source.genome.region(text) for text in ("gap:25-200", "borders:9-10", "unknown")]
        write_bigwigs(source, [OWN], folder / "regions")
        names = {key: f"{track_name(*key, '+-')}.bw" for key in truth}
        site = {name: (folder / name).resolve() for name in (*names.values(), "toy.fa", "toy.fa.fai")}
        site["regions.bw"] = (folder / "regions" / names[OWN, "+"]).resolve()
        site["index.html"] = PAGE
        site["igv.min.js"] = (files("sae_tracks.report") / "assets/vendor/igv.min.js").read_bytes()
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=WAIT)
        with serving(site) as server:
            page, _, complaints = watched(chromium)
            page.goto(server.url)
            lengths = list(source.genome.lengths.items())
            for key, expected in truth.items():
                scales = [] if key[0] == ZERO else SCALES  # bins of zeros are longer than the longest contig
                check_track(page.evaluate(READ, [names[key], lengths, scales]), expected)
            part = page.evaluate(READ, ["regions.bw", lengths, []])
            check_track(part, activations(source)[OWN, "+"])
            assert complaints == []
        chromium.close()


def check_track(found, expected):
    """What igv.js read of a bigWig, contig by contig, against the values of its bases."""
    for (bases, *zooms), values in zip(found, expected.values(), strict=True):
        values = values.astype(np.float32).astype(float)
        np.testing.assert_array_equal(painted(bases, len(values)), values)
        wanted = [(scale - 1, how) for scale in SCALES for how in (np.nanmin, np.nanmax, np.nanmean)]
        for records, (size, statistic) in zip(zooms, wanted):
            check_bins(records, values, size, statistic)
