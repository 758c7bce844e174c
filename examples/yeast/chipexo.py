"""Do features know where a factor binds? Motif sites of yeast against ChIP-exo peaks, which are bases that were bound.

    python examples/yeast/chipexo.py DEMO PEAKS OUT [--genome FASTA --choose-on chrIV --report-on chrXIII chrXVI]

DEMO is a folder of `sae-tracks demo`, PEAKS has Reb1_CX.bed and the like. By default features are chosen on chrXIII and
reported on chrXVI. Writes tables and a picture to OUT, and prints tables in Markdown. Intervals are of 95 %.
"""

import argparse
import logging
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sae_tracks import Genome, Source, load_lm, load_sae
from sae_tracks.annotations import read_annotation
from sae_tracks.annotations.sites import only, series
from sae_tracks.bootstrap import draws_of, interval
from sae_tracks.controls.opened import ControlSettings
from sae_tracks.controls.score import score
from sae_tracks.demo.yeast import DECOYS, LEARNING, MATRICES, UNTRAINED
from sae_tracks.intervals import Spans, cover, hold, merge
from sae_tracks.lm import GeneLM
from sae_tracks.lm.untrained import check_can_be_untrained
from sae_tracks.metrics import evaluate_on
from sae_tracks.motifs import Scanner, chosen_motifs, named_motifs, write_sites
from sae_tracks.regions import GenomicRegion
from sae_tracks.report.figures import save_figure

FACTORS = {"Reb1": "MA0363.3", "Abf1": "MA0265.3", "Rap1": "MA0359.3", "Spt15": "MA0386.2"}
NEAR = 15  # bases from a site to a peak of its factor
FLANK = 10  # bases of a peak on either side
LAG = 10  # a model that reads from left to right knows a site at its end
LEAST = 10  # bound sites to choose by
BLOCK = 10_000  # bases that are drawn together
PRECISION = 0.6  # of the feature that is imagined for the power
RIVALS = {"word": ["kmer_ap"], "probe": ["probe_ap"], "dimension": ["dimension_ap"]}
RIVALS["untrained"] = ["untrained_ap", "permuted_ap"]
COLORS = {"feature": "#0072B2", "word": "#E69F00", "dimension": "#56B4E9", "untrained": "#999999"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("demo", "peaks", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--genome", type=Path, help="default: that of the demo")
    parser.add_argument("--choose-on", nargs="+", default=["chrXIII"])
    parser.add_argument("--report-on", nargs="+", default=["chrXVI"])
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    genome = Genome(options.genome or options.demo / "yeast.fa.gz")
    regions = [GenomicRegion(name, 0, genome.lengths[name]) for name in options.choose_on + options.report_on]
    scanned = options.out / "sites.bed"
    motifs = chosen_motifs(*named_motifs(str(options.demo / "motifs.jaspar")), MATRICES)
    write_sites(genome, Scanner(motifs), scanned, regions)
    sites, peaks = places_of(scanned, genome), peaks_of(options.peaks, genome, regions)
    show(pd.DataFrame([classify(factor, sites, peaks, regions) for factor in FACTORS]), options.out / "agreement.tsv")
    write_classes(sites, peaks, options.out / "classes.bed")
    sources = open_sources(options.demo, genome, regions)
    matches = scored(options.demo, sources, options.choose_on, options.report_on, options.out)
    show(matches, options.out / "matches.tsv")
    bound = tell_apart(sites, sources, read_cds(options.demo, genome), options.choose_on)
    show(bound, options.out / "bound.tsv")
    save_figure(picture(matches, bound), options.out / "chipexo.png")


def show(table: pd.DataFrame, path: Path) -> None:
    """Write a table, and print it in Markdown."""
    table.to_csv(path, sep="\t", index=False)
    for row in (table.columns, ["---"] * table.shape[1], *table.to_numpy().tolist()):
        print("|", " | ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row), "|")
    print(flush=True)


def places_of(path: Path, genome: Genome) -> pd.DataFrame:
    """Sites of the factors. Those of one matrix that overlap, on either strand, are one place with the best score."""
    sites = read_annotation(path, genome).sites
    tables = []
    for factor, matrix in FACTORS.items():
        for contig, mine in only(sites, series(sites, "Name") == matrix).groupby("Chromosome", observed=True):
            start, end, value = (series(mine, name).to_numpy() for name in ("Start", "End", "Score"))
            spans = merge(np.stack([start, end], axis=1))
            best = np.zeros(len(spans))
            np.maximum.at(best, np.searchsorted(spans[:, 0], start, side="right") - 1, value)
            place = {"factor": factor, "contig": contig, "start": spans[:, 0], "end": spans[:, 1], "score": best}
            tables.append(pd.DataFrame(place))
    return pd.concat(tables, ignore_index=True).assign(bound=False)


def peaks_of(folder: Path, genome: Genome, regions: list[GenomicRegion]) -> pd.DataFrame:
    """The bases at the centres of the peaks, ascending in each contig."""
    tables = []
    for factor in FACTORS:
        peaks = read_annotation(folder / f"{factor}_CX.bed", genome, alias="ucsc").sites
        peaks = only(peaks, series(peaks, "Chromosome").isin([region.contig for region in regions])).sort_values(
            by="Start"
        )
        place = {"contig": peaks["Chromosome"].astype(str), "base": peaks["Start"], "factor": factor}
        tables.append(pd.DataFrame(place))
    return pd.concat(tables, ignore_index=True).assign(has_site=False)


def classify(factor: str, sites: pd.DataFrame, peaks: pd.DataFrame, regions: list[GenomicRegion]) -> dict[str, Any]:
    """Say of each site whether it is bound, and of each peak whether it has a site; return the shares of both."""
    near_site = near_peak = 0
    for region in regions:
        mine = (sites["factor"] == factor) & (sites["contig"] == region.contig)
        theirs = (peaks["factor"] == factor) & (peaks["contig"] == region.contig)
        base, (start, end) = peaks.loc[theirs, "base"].to_numpy(), sites.loc[mine, ["start", "end"]].to_numpy().T
        around = merge(np.stack([start - NEAR, end + NEAR], axis=1))
        sites.loc[mine, "bound"] = np.searchsorted(base, end + NEAR) > np.searchsorted(base, start - NEAR)
        peaks.loc[theirs, "has_site"] = hold(around, base)
        near_site += cover(around, 0, region.end).sum()
        near_peak += cover(merge(np.stack([base - NEAR, base + NEAR + 1], axis=1)), 0, region.end).sum()
    places, summits = sites["bound"][sites["factor"] == factor], peaks["has_site"][peaks["factor"] == factor]
    bases = sum(map(len, regions))
    return {
        "factor": factor,
        "peaks": len(summits),
        "with a site": np.mean(summits),
        "bases with a site": near_site / bases,
        "sites": len(places),
        "with a peak": np.mean(places),
        "bases with a peak": near_peak / bases,
    }


def open_sources(demo: Path, genome: Genome, regions: list[GenomicRegion]) -> dict[str, Source]:
    """The demo's SAE and those of its untrained models."""
    lm = load_lm("yeast", layer=3, device="cpu")
    offers = check_can_be_untrained(lm)
    models: dict[str, tuple[GeneLM, Path]] = {"trained": (lm, demo / "sae")}
    models |= {kind: (offers.untrained(kind, 0), demo / "untrained" / kind / "sae") for kind in UNTRAINED}
    return {
        name: Source(model, load_sae(folder), genome, regions, context=LEARNING.context)
        for name, (model, folder) in models.items()
    }


def scored(
    demo: Path, sources: dict[str, Source], choose_on: list[str], report_on: list[str], out: Path
) -> pd.DataFrame:
    """The best feature for sites by strand, bound and unbound sites, and peaks, with its rivals and verdict."""
    source = sources["trained"]
    annotations, halves = [out / "sites.bed", out / "classes.bed"], (choose_on, report_on)
    evaluation = evaluate_on(
        source.genome, annotations, source.regions, alias="ucsc", select=halves[0], report=halves[1]
    )
    controls = ControlSettings(
        motifs=str(demo / "motifs.jaspar"),
        decoys=DECOYS,
        repeats=str(demo / "repeats.bed"),
        untrained=[(kind, sources[kind]) for kind in UNTRAINED],
    )
    table = score(source, evaluation, out / "metrics", controls=controls).table
    factor_of = {matrix: factor for factor, matrix in FACTORS.items()}
    names = [factor_of.get(concept, concept.split()[0]) for concept in table["concept"]]
    rows = [match(name, row) for name, row in zip(names, table.to_dict("records")) if name in FACTORS]
    return pd.DataFrame(rows).sort_values(["factor", "concept", "strand"], ignore_index=True)


def match(factor: str, row: dict[Hashable, Any]) -> dict[str, Any]:
    """The columns that are shown of a row of metrics.tsv."""
    rivals = {name: float(np.nanmax([0.0, *(row[column] for column in columns)])) for name, columns in RIVALS.items()}
    return {
        "factor": factor,
        "concept": row["concept"],
        "strand": row["site_strand"],
        "instances": row["instances"],
        "feature": row["feature"],
        "F1": row["f1"],
        "AP": row["site_average_precision"],
        "low": row["site_ap_low"],
        "high": row["site_ap_high"],
        "by chance": row["site_share"],
        **rivals,
        "recall needed": recall_needed(row["items"], max(rivals.values())),
        "verdict": row["verdict"],
    }


def write_classes(sites: pd.DataFrame, peaks: pd.DataFrame, path: Path) -> None:
    """Write bound and unbound sites, peaks, and peaks without a site, as a BED file."""
    status = np.where(sites["bound"].astype(bool), " bound site", " unbound site")
    tables = [sites[["contig", "start", "end"]].assign(name=sites["factor"] + status)]
    for name, mine in ((" peak", peaks), (" peak without a site", peaks[~peaks["has_site"].astype(bool)])):
        start, end = np.maximum(mine["base"] - FLANK, 0), mine["base"] + FLANK + 1
        tables.append(
            pd.DataFrame({"contig": mine["contig"], "start": start, "end": end, "name": mine["factor"] + name})
        )
    pd.concat(tables).to_csv(path, sep="\t", header=False, index=False)


def recall_needed(items: float, rival: float) -> float:
    """The least share of the items that a feature must find, at `PRECISION`, so that its interval is above a rival.

    A feature with recall r has an average precision of about r times its precision. NaN if finding all is too little.
    """
    recall = np.arange(1, 101) / 100
    low = PRECISION * (recall - 1.96 * np.sqrt(recall * (1 - recall) / items))
    return float(recall[low > rival][0]) if low[-1] > rival else np.nan


def read_cds(demo: Path, genome: Genome) -> dict[str, Spans]:
    """Coding sequence of both strands, by contig."""
    sites = read_annotation(demo / "genes.gtf.gz", genome, alias="ucsc").sites
    coding = sites[sites["Name"] == "CDS"]
    return {
        name: merge(coding.loc[coding["Chromosome"] == name, ["Start", "End"]].to_numpy(np.int64))
        for name in genome.lengths
    }


def tell_apart(
    sites: pd.DataFrame, sources: dict[str, Source], cds: dict[str, Spans], choose_on: list[str]
) -> pd.DataFrame:
    """AUROC of what tells bound sites from unbound ones: the best feature of each model, the matrix, genes."""
    chosen_on = series(sites, "contig").isin(choose_on)
    by_half = pd.crosstab(sites["factor"], chosen_on, sites["bound"], aggfunc="sum")
    enough = [factor for factor, least in by_half.min(axis=1).items() if least >= LEAST]
    sites = only(sites, series(sites, "factor").isin(enough)).reset_index(drop=True)
    middle = (sites["start"] + sites["end"]).to_numpy() // 2
    outside = [not hold(cds[name], base) for name, base in zip(sites["contig"], middle)]
    fixed = {"score of the matrix": sites["score"].to_numpy(), "outside coding sequence": np.array(outside)}
    levels = {name: strongest(source, sites) for name, source in sources.items()}
    rows = []
    for factor in sites["factor"].unique():
        mine, chosen_on = sites["factor"] == factor, series(sites, "contig").isin(choose_on)
        here, there = np.flatnonzero(mine & chosen_on), np.flatnonzero(mine & ~chosen_on)
        bound, block = sites["bound"].to_numpy(bool), blocks_of(sites.loc[there])
        row = {"factor": factor, "bound": int(bound[there].sum()), "unbound": int((~bound[there]).sum())}
        for name, of_model in levels.items():
            feature, sign = choose(of_model[here], bound[here])
            row[f"{name}: feature"] = f"{'-' if sign < 0 else ''}f{feature}"
            row |= measured(name, sign * of_model[there, feature], bound[there], block)
        for name, values in fixed.items():
            row |= measured(name, values[there], bound[there], block)
        rows.append(row)
    return pd.DataFrame(rows)


def blocks_of(sites: pd.DataFrame) -> NDArray[np.int64]:
    """(n,): the number of the block in which each site lies."""
    return sites.groupby(["contig", sites["start"] // BLOCK]).ngroup().to_numpy()


def strongest(source: Source, sites: pd.DataFrame) -> NDArray[np.float32]:
    """(sites, features) float32: the highest activation on each site and `LAG` bases behind it."""
    contig, start, end = sites["contig"].to_numpy(), sites["start"].to_numpy(), sites["end"].to_numpy() + LAG
    end = np.minimum(end, [source.genome.lengths[name] for name in contig])
    found = np.zeros((len(sites), source.sae.d_sae), np.float32)
    here = replace(source, regions=[GenomicRegion(*place) for place in zip(contig, start.tolist(), end.tolist())])
    for block in here.blocks():
        values, region = block.to_scipy(), block.region
        for i in np.flatnonzero((contig == region.contig) & (start < region.end) & (end > region.start)):
            rows = values[max(start[i] - region.start, 0) : end[i] - region.start]
            found[i] = np.maximum(found[i], rows.toarray().max(axis=0))
    return found


def choose(levels: NDArray[np.float32], bound: NDArray[np.bool_]) -> tuple[int, int]:
    """The feature that tells best, and 1 if it is higher at bound sites, else -1."""
    even = np.ones((1, len(bound)))
    above = np.array([auroc(column, bound, even)[0] - 0.5 for column in levels.T])
    feature = int(np.abs(above).argmax())
    return feature, 1 if above[feature] > 0 else -1


def measured(name: str, values: NDArray, bound: NDArray[np.bool_], block: NDArray[np.int64]) -> dict[str, float]:
    """The AUROC, with its interval from draws of whole blocks."""
    low, high = interval(auroc(values, bound, draws_of(block.max() + 1, 0)[:, block]))
    return {name: float(auroc(values, bound, np.ones((1, len(bound))))[0]), f"{name}: low": low, f"{name}: high": high}


def auroc(values: NDArray, bound: NDArray[np.bool_], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws,): the chance that a bound site is higher than an unbound one, ties half; `weight` is (draws, sites)."""
    mine, others = values[bound][:, None], values[~bound][None, :]
    wins = (mine > others) + 0.5 * (mine == others)
    with np.errstate(invalid="ignore"):
        pairs = weight[:, bound].sum(axis=1) * weight[:, ~bound].sum(axis=1)
        return ((weight[:, bound] @ wins) * weight[:, ~bound]).sum(axis=1) / pairs


def picture(matches: pd.DataFrame, bound: pd.DataFrame) -> Figure:
    """Average precision at bound sites and at peaks; AUROC of bound against unbound sites."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    sites, peaks, last = figure.subplots(1, 3)
    by_class = matches[matches["strand"] == "."].set_index("concept")  # the rows of the matrices have a strand
    for axes, what, title in ((sites, "bound site", "Bound sites"), (peaks, "peak", "Peaks")):
        of = by_class.reindex([f"{factor} {what}" for factor in FACTORS])
        bars = {"feature": "AP", "word": "word", "dimension": "dimension", "untrained": "untrained"}
        for i, (name, column) in enumerate(bars.items()):
            axes.bar(np.arange(4) + 0.2 * i - 0.3, of[column], 0.2, label=name, color=COLORS[name])
        axes.errorbar(
            np.arange(4) - 0.3, of["AP"], [of["AP"] - of["low"], of["high"] - of["AP"]], fmt="none", ecolor="k"
        )
        finish(axes, title, "average precision")
    sites.legend(frameon=False)
    shown = {
        "trained": "#0072B2",
        "random": "#999999",
        "score of the matrix": "#D55E00",
        "outside coding sequence": "#009E73",
    }
    bound = bound.set_index("factor").reindex(list(FACTORS))
    for i, (name, color) in enumerate(shown.items()):
        spread = [bound[name] - bound[f"{name}: low"], bound[f"{name}: high"] - bound[name]]
        label = {"trained": "best feature", "random": "untrained"}.get(name, name)
        last.errorbar(np.arange(4) + 0.2 * i - 0.3, bound[name], np.abs(spread), fmt="o", color=color, label=label)
    last.axhline(0.5, color="k", lw=0.5)
    finish(last, "Bound from unbound sites", "AUROC")
    last.set_ylim(0.1, 1)  # leaves room for the legend
    last.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def finish(axes: Axes, title: str, label: str) -> None:
    axes.set_xticks(range(4), FACTORS)
    axes.set_ylabel(label)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
