"""The demo on real DNA: an SAE of the bundled yeast model is trained on one chromosome and judged on another.

The language model was trained on neither of the two, but 5 % of their 32-mers are copies of what it was trained on. All
controls are run, with one model with new weights and one with permuted weights; ``sae-tracks metrics --controls
untrained`` makes three of each.
"""

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd

from sae_tracks.browsers.hub import write_hub
from sae_tracks.browsers.igv import write_sessions
from sae_tracks.controls.opened import ControlSettings
from sae_tracks.controls.score import score
from sae_tracks.controls.verdict import OUTCOMES, SUPPORTED, TESTS
from sae_tracks.demo.figure import plot_genes
from sae_tracks.demo.learn import Learning, check_new, learn
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import bundled, write_provenance
from sae_tracks.genome import Genome
from sae_tracks.lm import GeneLM, load_lm
from sae_tracks.lm.untrained import Kind, check_can_be_untrained
from sae_tracks.motifs import Scanner, chosen_motifs, named_motifs, write_sites
from sae_tracks.names import counted, feature_number
from sae_tracks.report.figures import plot_scores, save_figure
from sae_tracks.source import Source
from sae_tracks.tracks import write_bed, write_bigwigs
from sae_tracks.train.settings import RECIPES

log = logging.getLogger(__name__)
ASSEMBLY = "sacCer3"  # UCSC's name, and IGV's, of R64-1-1
TRAIN_ON, SCORE_ON = "chrXIII", "chrXVI"
FILES = ("yeast.fa.gz", "yeast.fa.gz.fai", "yeast.fa.gz.gzi", "genes.gtf.gz", "genes.bed", "elements.bed")
REPEATS = ("long_terminal_repeat", "LTR_retrotransposon", "telomere", "X_element", "Y_prime_element")
SETTINGS = replace(RECIPES["topk"], expansion=8, k=16)  # small enough for the time; not chosen by the scores
LEARNING = Learning(TRAIN_ON, windows=800, context=128, settings=SETTINGS, epochs=2)  # 307,000 activations
UNTRAINED: tuple[Kind, ...] = ("random", "permuted")
# SPT15, which binds the TATA box, and six well-known factors, of which four have too few sites on half a chromosome
MATRICES = ("MA0386.2", "MA0363.3", "MA0265.3", "MA0359.3", "MA0303.3", "MA0331.1", "MA0281.3")
DECOYS = 25  # of each motif; more would take longer than all the rest
SHOWN = "chrXVI:300,001-500,000"  # in tracks
GENES = "chrXVI:312,501-322,500"  # in the figure
LEAST_SUPPORTED = 3  # features


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of the demo, in its folder."""

    genome: Genome
    genes: Path  # GTF
    elements: Path  # BED of LTRs, telomeres, origins of replication, centromeres
    repeats: Path  # those of them that are repeats
    motifs: Path  # JASPAR's matrices of fungi
    sites: Path  # of `MATRICES`


def run_yeast(out: Path, seed: int = 0) -> None:
    """Run this demo: train an SAE on one chromosome, judge its features on another, write tracks beside the genes.

    It fails if fewer than `LEAST_SUPPORTED` features have a supported match.
    """
    check_new(out)
    started = time.monotonic()
    log.info(
        "1/5 two chromosomes of baker's yeast that the language model was not trained on, their genes and motif sites"
    )
    inputs = prepare(out)
    source, table = judge(load_lm("yeast", layer=3, device="cpu"), inputs, LEARNING, out, seed)
    log.info("5/5 tracks, hub, session, figures")
    write_tracks(source, table, out)
    write_figures(source, table, out / "genes.bed", out / "figures")
    write_provenance(out, seed=seed, trained_on=TRAIN_ON, scored_on=SCORE_ON)
    for line in summary(table, source, out, time.monotonic() - started):
        log.info("%s", line)
    check(table)


def prepare(out: Path) -> Inputs:
    """Copy the bundled files to a folder, and find the motif sites."""
    data = bundled("yeast-genome")
    out.mkdir(parents=True, exist_ok=True)
    for name in (*FILES, "motifs.jaspar"):
        shutil.copyfile(data / name, out / name)
    rows = (out / "elements.bed").read_text().splitlines(keepends=True)
    (out / "repeats.bed").write_text("".join(row for row in rows if row.split("\t")[3] in REPEATS))
    genome, motifs = Genome(out / "yeast.fa.gz"), out / "motifs.jaspar"
    scanner = Scanner(chosen_motifs(*named_motifs(str(motifs)), MATRICES))
    write_sites(genome, scanner, str(out / "sites.bed"), None, {"motifs_from": motifs.name})
    names = (out / name for name in ("genes.gtf.gz", "elements.bed", "repeats.bed", "motifs.jaspar", "sites.bed"))
    return Inputs(genome, *names)


def judge(lm: GeneLM, inputs: Inputs, how: Learning, out: Path, seed: int) -> tuple[Source, pd.DataFrame]:
    """Train SAEs of a language model and of untrained copies, and score the former with all controls.

    Returns
    -------
    Source
        The chromosome that is scored.
    DataFrame
        The best match of every concept, as in ``metrics.tsv``.
    """
    log.info("2/5 language model %s: extract, shuffle, train an SAE on %s", lm.model_id, how.contig)
    source = learn_source(lm, inputs.genome, how, out, seed)
    log.info("3/5 the same with untrained models, for comparison")
    offers = check_can_be_untrained(lm)
    untrained: list[tuple[Kind, Source]] = [
        (kind, learn_source(offers.untrained(kind, 0), inputs.genome, how, out / "untrained" / kind, seed))
        for kind in UNTRAINED
    ]
    log.info("4/5 score all features on %s, and test the best matches", SCORE_ON)
    controls = ControlSettings(
        motifs=str(inputs.motifs), decoys=DECOYS, repeats=str(inputs.repeats), untrained=untrained
    )
    annotations = [inputs.genes, inputs.elements, inputs.sites]
    return source, score(source, annotations, out / "metrics", controls=controls).table


def learn_source(lm: GeneLM, genome: Genome, how: Learning, out: Path, seed: int) -> Source:
    """Train an SAE, and read the other chromosome with it."""
    sae = learn(lm, genome, how, out, seed)
    return Source(lm, sae, genome, [genome.region(SCORE_ON)], context=how.context)


def supported(table: pd.DataFrame) -> pd.DataFrame:
    """The supported matches, the highest average precision first."""
    rows = cast(pd.DataFrame, table[table["verdict"] == SUPPORTED])
    return rows.sort_values("site_average_precision", ascending=False, kind="stable")


def write_tracks(source: Source, table: pd.DataFrame, out: Path) -> None:
    """Write bigWigs and a BED of the supported features, a hub and IGV sessions that show them beside the genes."""
    tracks, scores, rows = out / "tracks", out / "metrics" / "metrics.tsv", supported(table)
    features = sorted({feature_number(name) for name in (rows if len(rows) else table.head(1))["feature"]})
    here = replace(source, regions=[source.genome.region(SHOWN)])
    write_bigwigs(here, features, tracks)
    write_bed(here, features, tracks / "features.bed")
    shutil.copyfile(out / "genes.bed", tracks / "genes.bed")
    write_hub(tracks, assembly=ASSEMBLY, scores=scores)
    write_sessions(tracks, str(source.genome.path), scores=scores)


def write_figures(source: Source, table: pd.DataFrame, genes: Path, out: Path) -> None:
    """Draw features of coding sequence beside genes, and the scores."""
    best = {
        f"{row['concept']} {row['site_strand']}": (feature_number(row["feature"]), row["verdict"])
        for row in table.to_dict("records")
    }
    along = {name: best[name] for name in ("CDS +", "CDS -")}
    codons = {name: best[name] for name in ("CDS:1 +", "CDS:2 +", "CDS:3 +")}
    features = sorted({feature for feature, _ in (*along.values(), *codons.values())})
    region = source.genome.region(GENES)
    blocks = list(replace(source, regions=[region]).blocks(features))
    save_figure(plot_genes(blocks, source.genome, region, genes, along, codons), out / "genes.png")
    save_figure(plot_scores(table, most=20), out / "scores.png")


def summary(table: pd.DataFrame, source: Source, out: Path, seconds: float) -> Iterator[str]:
    """Yield lines: what is supported, what is not and why, and which files to open."""
    quality, rows = source.sae.metadata["maxima"], supported(table)
    tests = ", ".join(test.name for test in TESTS)
    yield (
        f"SAE: {source.sae.d_sae:,} features, {quality['l0']:.0f} active per base, {quality['fvu']:.1%} of variance "
        "unexplained"
    )
    yield f"{SUPPORTED}, {len(rows)} of {counted(len(table), 'match', 'matches')}, which passed all tests ({tests}):"
    for _, ones in rows.groupby("feature", sort=False):
        yield from _lines(ones.to_dict("records"))
    yield f"  (95 % interval); the best other explanation, with one model of {' and one of '.join(UNTRAINED)} weights"
    for verdict, meaning in OUTCOMES.items():
        others = cast(pd.DataFrame, table[table["verdict"] == verdict])
        if verdict != SUPPORTED and len(others):
            yield f"{verdict} ({meaning}):"
            yield f"  {', '.join(_names(others))}"
    yield f"table   {out / 'metrics' / 'metrics.tsv'}"
    yield f"page    sae-tracks view {out}"
    yield f"tracks  {out / 'tracks'}: a bigWig for each supported feature, features.bed, genes.bed"
    yield f"IGV     open {out / 'tracks' / 'session.xml'}"
    yield f"UCSC    {out / 'tracks' / 'hub.txt'} is a hub for {ASSEMBLY}: put the folder on a web server"
    yield f"figures {out / 'figures' / 'genes.png'}, {out / 'figures' / 'scores.png'}"
    yield f"made in {seconds / 60:.1f} minutes"


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The matches of one feature, the best first."""
    for number, row in enumerate(rows):
        feature = "" if number else row["feature"]
        name, ap = f"{row['concept']} {row['site_strand']}", row["site_average_precision"]
        interval = f"{row['site_ap_low']:.2f} to {row['site_ap_high']:.2f}"
        rival = f"{row['best_rival']} {ap - row['effect']:.2f}"
        yield f"  {feature:6} {name:14} F1 {row['f1']:.2f}, average precision {ap:.2f} ({interval}); {rival}"


def _names(rows: pd.DataFrame) -> list[str]:
    """The concepts of some rows with their strands; a motif as the matrix of its factor."""
    named = [f"{tf}'s matrix" if tf else concept for concept, tf in zip(rows["concept"], rows["tf"])]
    strands: dict[str, set[str]] = {}
    for name, strand in zip(named, rows["site_strand"]):
        strands.setdefault(name, set()).add(strand)
    return [name if found == {"."} else f"{name} ({', '.join(sorted(found))})" for name, found in strands.items()]


def check(table: pd.DataFrame) -> None:
    """Raise an error unless as many features have a supported match as the demo claims."""
    found = sorted(set(supported(table)["feature"]))
    if len(found) < LEAST_SUPPORTED:
        raise SaeTracksError(
            f"{len(found)} features have a {SUPPORTED} match ({', '.join(found) or 'none'}), expected at least "
            f"{LEAST_SUPPORTED}"
        )
