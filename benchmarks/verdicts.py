"""Are verdicts right both ways? Features of known behaviour on real sequence, judged as `sae-tracks metrics` does.

    python benchmarks/verdicts.py --json > verdicts.json
    python benchmarks/verdicts.py --json --small --only null power
    python benchmarks/verdicts.py --table verdicts.json

The sequence is hg19 chr22:20,000,000-21,000,000 (1 Mb: blocks of 100 kb choose and report in turn), the motifs are
those of JASPAR 2022; both lie in the folder `--data`. See `detectors.py` for the language model and the SAE.

Null features know nothing of motifs: random filters of 6 and of 12 letters, random words of 4 to 6 letters, and random
directions of the bundled language model. The share of motifs that beat their k decoys must then be 1 / (k + 1);
`null_wins` gives the 99 % binomial interval of this share, as if motifs were independent. `regions_null` counts
p-values of at most 0.05 of annotations that are random regions like real ones. Detectors know the sites of a motif;
`power` is the share of their motifs whose verdict is `supported`, by behaviour. The untrained models that they are
compared with are noise.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from detectors import (
    DENSITY,
    Column,
    Table,
    always,
    detector_source,
    filter_columns,
    noise_columns,
    on_sites,
    partly,
    stats_of,
    word_columns,
    word_ends,
)
from numpy.typing import NDArray
from scipy.stats import binom

from sae_tracks import score
from sae_tracks.annotations import read_annotation
from sae_tracks.controls.alu import Copy, find_copies
from sae_tracks.controls.score import ControlSettings
from sae_tracks.dna import codes, kmers
from sae_tracks.genome import Genome
from sae_tracks.lm import load_lm
from sae_tracks.metrics import Evaluation, evaluate_on
from sae_tracks.motifs import Scanner, read_motifs, write_sites
from sae_tracks.reading import read
from sae_tracks.regions import GenomicRegion
from sae_tracks.sae import SAE
from sae_tracks.source import Source

DATA = Path(__file__).parents[2] / "shared" / "data"
SEQUENCE, MATRICES = "hg19.chr22_20000000-21000000.fa.gz", "JASPAR2022_vertebrates.pfm.gz"
GENES = ("human/hg38.chr9_0-1000000.fa.gz", "human/GRCh38.91_chr9_1_1000000.gtf.gz")
KINDS = ("filters6", "filters12", "kmers", "random_sae")
KIND_NAMES = {
    "filters6": "filters of 6 letters",
    "filters12": "filters of 12 letters",
    "kmers": "words of 4 to 6 letters",
    "random_sae": "random directions",
}
BEHAVIOURS = ("full", "half", "last3", "last1")
BEHAVIOUR_NAMES = {
    "full": "all bases of all sites",
    "half": "the half that is read last",
    "last3": "the last three bases",
    "last1": "the last base",
}
CTCF = "MA0139.1"
FEATURES = 1500  # of a null dictionary; of words 500 of each length
OTHERS = 128  # random filters beside the detectors
BLANK = 64  # noise features of an untrained model
LEAST_SITES = 50  # on the report half
LEVEL = 0.99
DRAWN = 20  # annotations of random regions, of each kind
NEAR = 3  # letters of the consensus on either side, where a feature follows Alu
ALU_SHARE, BOTH = 0.6, (0.25, 0.6)  # of a motif's sites in Alu: it is one of Alu's; it lies inside and outside


@dataclass(frozen=True)
class Ground:
    """The real sequence, its motif sites and its copies of Alu."""

    genome: Genome
    motifs: Path
    sites: pd.DataFrame  # BED6+1, all motifs
    copies: list[Copy]
    folder: Path

    @classmethod
    def at(cls, data: Path, folder: Path) -> "Ground":
        """Scan the sequence for motifs and for Alu."""
        genome = Genome(data / SEQUENCE)
        (contig,) = genome.lengths
        write_sites(genome, Scanner(read_motifs(data / MATRICES)), folder / "sites.bed")
        names = ["contig", "start", "end", "name", "score", "strand", "tf"]
        sites = pd.read_csv(folder / "sites.bed", sep="\t", names=names, keep_default_na=False)
        copies = find_copies(genome.sequence(genome.region(contig)))
        rows = [(contig, copy.start, copy.end, "SINE/Alu") for copy in copies]
        pd.DataFrame(rows).to_csv(folder / "alu.bed", sep="\t", header=False, index=False)
        return cls(genome, data / MATRICES, sites, copies, folder)

    @property
    def contig(self) -> str:
        return next(iter(self.genome.lengths))

    @property
    def length(self) -> int:
        return self.genome.lengths[self.contig]

    @property
    def text(self) -> bytes:
        return self.genome.sequence(self.genome.region(self.contig))

    def of(self, name: str, strand: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Starts and ends of the sites of a motif on a strand, ascending."""
        mine = self.sites[(self.sites["name"] == name) & (self.sites["strand"] == strand)]
        return mine["start"].to_numpy(np.int64), mine["end"].to_numpy(np.int64)

    def annotated(self, names: Sequence[str] | None, label: str) -> Evaluation:
        """An evaluation on the sites of some motifs, or of all."""
        path = self.folder / f"{label}.sites.bed"
        sites = self.sites if names is None else self.sites[self.sites["name"].isin(names)]
        sites.to_csv(path, sep="\t", header=False, index=False)
        return evaluate_on(self.genome, [path])

    def counted(self) -> pd.DataFrame:
        """``name``, ``strand``, ``sites`` on the report half, and ``alu``, the share of all sites that lie in Alu."""
        start = self.sites["start"].to_numpy(np.int64)
        inside = np.zeros(self.length, np.bool_)
        for copy in self.copies:
            inside[copy.start : copy.end] = True
        report = start // 100_000 % 2 == 1
        table = self.sites.assign(sites=report, alu=inside[start])
        return table.groupby(["name", "strand"], as_index=False).agg({"sites": "sum", "alu": "mean"})


def blank(genome: Genome, seed: int = 99) -> Source:
    """An untrained model: features that are noise."""
    rng = np.random.default_rng(seed)
    tables = {name: Table.of(noise_columns(length, BLANK, rng)) for name, length in genome.lengths.items()}
    return detector_source(genome, tables, seed)


def judge(ground: Ground, source: Source, evaluation: Evaluation, label: str, **settings: Any) -> pd.DataFrame:
    """The best feature of every motif with all controls, as `sae-tracks metrics` writes it; without A, C, G and T."""
    untrained = [("random", blank(ground.genome))]
    given = {"motifs": str(ground.motifs), "repeats": str(ground.folder / "alu.bed"), "untrained": untrained}
    controls = ControlSettings(**(given | settings))
    table = score(source, evaluation, ground.folder / label, controls=controls).table
    print(f"{label}: {dict(table['verdict'].value_counts())}", file=sys.stderr, flush=True)
    return table[~table["concept"].isin(list("ACGT"))]


def judge_columns(
    ground: Ground, columns: Sequence[Column], names: Sequence[str] | None, label: str, **settings: Any
) -> pd.DataFrame:
    """`judge` the features of a table."""
    source = detector_source(ground.genome, {ground.contig: Table.of(columns)})
    return judge(ground, source, ground.annotated(names, label), label, **settings)


def null_columns(text: bytes, kind: str, n: int) -> list[Column]:
    """The features of a null dictionary."""
    rng = np.random.default_rng(KINDS.index(kind))
    if kind == "kmers":
        return word_columns(text, n // 3, rng)
    return filter_columns(text, int(kind.removeprefix("filters")), n, rng)


def random_directions(ground: Ground, n: int) -> Source:
    """Random directions of the activations of the bundled model, each active above the quantile of a density."""
    lm = load_lm("demo", 3)
    rng = np.random.default_rng(KINDS.index("random_sae"))
    draw = rng.standard_normal((lm.d_model, n)).astype(np.float32)
    weight = torch.from_numpy(draw / np.linalg.norm(draw, axis=0))
    region = GenomicRegion(ground.contig, 0, min(200_000, ground.length))
    rows = torch.cat(
        [reading.activations[torch.from_numpy(reading.readable)] for reading in read(lm, ground.genome, [region])]
    )
    density = np.exp(rng.uniform(*np.log(DENSITY), n))
    cut, most = np.empty(n, np.float32), np.empty(n, np.float32)
    for i in range(n):
        values = (rows @ weight[:, i]).numpy()
        cut[i], most[i] = np.quantile(values, 1 - density[i]), values.max()
    sae = SAE(
        weight, -torch.from_numpy(cut), weight.T.contiguous(), torch.zeros(lm.d_model), stats=stats_of(most - cut)
    )
    return Source(lm, sae, ground.genome)


def null(ground: Ground, small: bool) -> dict[str, Any]:
    """How often motifs win, are discovered, and are supported, if no feature knows a motif."""
    kinds = KINDS[:1] if small else KINDS
    least = ground.counted().groupby("name")["sites"].min()  # over both strands
    names = sorted(least[least >= LEAST_SITES].index)[::6][:30] if small else None
    found: dict[str, dict[str, Any]] = {
        "null_wins": {},
        "null_wins_within": {},
        "null_discoveries": {},
        "null_supported": {},
    }
    for kind in kinds:
        n, label, settings = (FEATURES // 5 if small else FEATURES), f"null-{kind}", {"decoys": 5} if small else {}
        if kind == "random_sae":
            table = judge(ground, random_directions(ground, n), ground.annotated(names, label), label, **settings)
        else:
            table = judge_columns(ground, null_columns(ground.text, kind, n), names, label, **settings)
        won = table["decoy_win"].astype(str)
        tested = table[won.isin(["True", "False"])]
        pairs, k = len(tested), int(tested["decoys"].max())
        share = float((won[tested.index] == "True").mean())
        low, high = (float(end) / pairs for end in binom.interval(LEVEL, pairs, 1 / (k + 1)))
        found["null_wins"][kind] = {"share": share, "pairs": pairs, "decoys": k, "low": low, "high": high}
        found["null_wins_within"][kind] = low <= share <= high
        found["null_discoveries"][kind] = float((tested["decoy_q"] <= 0.05).mean())
        found["null_supported"][kind] = share_of(table, "supported")
    return found


def share_of(table: pd.DataFrame, verdict: str) -> float:
    """The share of the rows with a verdict; NaN without rows."""
    return float((table["verdict"] == verdict).mean())


def outcome(table: pd.DataFrame, verdict: str) -> dict[str, Any]:
    """How many rows have the verdict that they should have, and all that they have."""
    return {
        "pairs": len(table),
        verdict: share_of(table, verdict),
        "verdicts": table["verdict"].value_counts().to_dict(),
    }


def rows_of(table: pd.DataFrame, wanted: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The rows of some motifs on a strand."""
    index = pd.MultiIndex.from_frame(table[["concept", "site_strand"]])
    return cast(pd.DataFrame, table[index.isin(wanted)])


def some_motifs(ground: Ground, n: int, seed: int = 0) -> list[tuple[str, str]]:
    """Motifs with enough sites on the report half, of which at most half lie in Alu, each on one strand."""
    table = ground.counted()
    able = table[(table["sites"] >= LEAST_SITES) & (table["alu"] <= 0.5)]
    drawn = able.sample(frac=1, random_state=seed).drop_duplicates("name").head(n)
    return list(zip(drawn["name"], drawn["strand"]))


def with_others(ground: Ground, columns: list[Column]) -> list[Column]:
    """Detectors beside random filters, as in a dictionary of which most features are something else."""
    return columns + filter_columns(ground.text, 12, OTHERS, np.random.default_rng(7))


def detectors(ground: Ground, wanted: Sequence[tuple[str, str]], behaviour: str, *, part: bool) -> list[Column]:
    """A detector of each motif on a strand."""
    rng, found = np.random.default_rng(5), []
    for name, strand in wanted:
        start, end = ground.of(name, strand)
        if part:
            start, end = partly(start, end, ground.length, rng)
        found.append(always(on_sites(start, end, behaviour)))
    return found


def power(ground: Ground, small: bool) -> dict[str, Any]:
    """The share of known motifs that are supported."""
    wanted = some_motifs(ground, 8 if small else 64)

    def judged(behaviour: str, *, part: bool) -> dict[str, Any]:
        columns = with_others(ground, detectors(ground, wanted, behaviour, part=part))
        label = f"power-{behaviour}{'-partial' if part else ''}"
        table = judge_columns(ground, columns, [name for name, _ in wanted], label)
        return outcome(rows_of(table, wanted), "supported")

    found: dict[str, Any] = {behaviour: judged(behaviour, part=False) for behaviour in BEHAVIOURS[: 1 if small else 4]}
    if not small:
        widths = {behaviour: judged(behaviour, part=True) for behaviour in ("full", "last3", "last1")}
        found["partial"] = {"supported": min(one["supported"] for one in widths.values()), "by_width": widths}
    return {"power": found}


def best_word(ground: Ground, name: str, strand: str) -> int:
    """The word of 6 letters with the best F1 on the select half: an occurrence is right if it lies in a site."""
    code, run = kmers(ground.text, 6)
    start, end = ground.of(name, strand)
    select = np.arange(ground.length) // 100_000 % 2 == 0
    inside = np.zeros(ground.length, np.bool_)
    for first, last in zip(start, end):
        inside[first + 5 : last] = True
    known = select & (run >= 6)
    code = (code & np.uint32(4095)).astype(np.int64)
    active, hit = (np.bincount(code[mask], minlength=4096) for mask in (known, known & inside))
    return int((2 * hit / (active + select[start].sum())).argmax())


def word(ground: Ground, small: bool) -> dict[str, Any]:
    """The verdicts of features that know the best word of a motif."""
    wanted = some_motifs(ground, 8 if small else 64)
    columns = [always(word_ends(ground.text, best_word(ground, *one))) for one in wanted]
    table = judge_columns(ground, with_others(ground, columns), [name for name, _ in wanted], "word")
    return {"word_is_word": outcome(rows_of(table, wanted), "word")}


def follow_alu(ground: Ground, name: str, strand: str) -> NDArray[np.int64]:
    """The bases of all copies of Alu at the place of the consensus where most of a motif's sites end."""
    place, turn = np.full(ground.length, -1), np.zeros(ground.length, np.int8)
    for copy in ground.copies:
        place[copy.start : copy.end] = copy.consensus + 1  # 0: an inserted base
        turn[copy.start : copy.end] = 1 if copy.strand == "+" else -1
    _, end = ground.of(name, strand)
    key = place[end - 1] * turn[end - 1]
    value, count = np.unique(key[place[end - 1] > 0], return_counts=True)
    most = value[count.argmax()]
    return np.flatnonzero((np.abs(place - abs(most)) <= NEAR) & (place > 0) & (turn == np.sign(most)))


def repeat(ground: Ground, small: bool) -> dict[str, Any]:
    """Features that follow Alu, and features that know the sites of motifs that lie inside and outside of Alu."""
    table = ground.counted()
    able = table[(table["sites"] >= LEAST_SITES) & (table["alu"] >= ALU_SHARE)].drop_duplicates("name")
    wanted = list(zip(able["name"], able["strand"]))[: 4 if small else 32]
    names, found = [name for name, _ in wanted], {}
    follows = [always(follow_alu(ground, *one)) for one in wanted]
    table = judge_columns(ground, with_others(ground, follows), names, "repeat-alu")
    found["repeat_is_repeat"] = outcome(rows_of(table, wanted), "repeat")
    table = ground.counted()
    able = table[(table["sites"] >= LEAST_SITES) & table["alu"].between(*BOTH)].drop_duplicates("name")
    wanted = list(zip(able["name"], able["strand"]))[: 4 if small else 32]
    knows = with_others(ground, detectors(ground, wanted, "full", part=False))
    table = judge_columns(ground, knows, [name for name, _ in wanted], "repeat-sites")
    found["repeat_is_repeat"]["sites_inside_and_outside"] = outcome(rows_of(table, wanted), "supported")
    return found


def single(ground: Ground, small: bool) -> dict[str, Any]:
    """A motif that is alone in its annotation."""
    wanted, found = [(CTCF, "+")], {}
    for behaviour in BEHAVIOURS[:1] if small else BEHAVIOURS:
        columns = with_others(ground, detectors(ground, wanted, behaviour, part=False))
        table = judge_columns(ground, columns, [CTCF], f"single-{behaviour}")
        found[behaviour] = rows_of(table, wanted)["verdict"].iloc[0]
    return {"single_motif_supported": found}


def like(text: bytes, spans: NDArray[np.int64], rng: np.random.Generator, tries: int = 100) -> NDArray[np.int64]:
    """(m, 2) random places without N, each of the width of a span and of nearly its GC and CpG content."""
    letters = codes(text)
    gc, cpg = (letters == 1) | (letters == 2), np.zeros(len(letters), np.bool_)
    cpg[:-1] = (letters[:-1] == 1) & (letters[1:] == 2)
    sums = np.stack([np.concatenate(([0], np.cumsum(mask))) for mask in (gc, cpg, letters > 3)])
    found = np.empty_like(spans)
    for i, (start, end) in enumerate(spans):
        width = end - start
        first = np.append(start, rng.integers(0, len(letters) - width, tries))
        share = (sums[:, first + width] - sums[:, first]) / width
        away = np.abs(share[:2, 1:] - share[:2, :1]).sum(axis=0) + 10 * share[2, 1:]
        at = first[1 + away.argmin()]
        found[i] = at, at + width
    return found


def regions_null(ground: Ground, data: Path, small: bool) -> dict[str, Any]:
    """Random regions like exons and like repeats as the annotation: how often is p at most .05?"""
    genome = Genome(data / GENES[0])
    (contig,) = genome.lengths
    text, rng, rows = genome.sequence(genome.region(contig)), np.random.default_rng(3), []
    exons = read_annotation(data / GENES[1], genome).sites
    exons = exons[exons["Name"].astype(str) == "exon"]
    repeats = read_annotation("softmask", genome).sites
    for kind, sites in (("exon", exons), ("repeat", repeats)):
        spans = np.unique(sites[["Start", "End"]].to_numpy(np.int64), axis=0)
        spans = spans[spans[:, 1] - spans[:, 0] >= 20]
        spans = spans[rng.permutation(len(spans))[:600]]
        for draw in range(4 if small else DRAWN):
            rows += [(contig, *span, f"{kind}-{draw}") for span in like(text, spans, rng).tolist()]
    path = ground.folder / "regions.bed"
    pd.DataFrame(rows).to_csv(path, sep="\t", header=False, index=False)
    other = Ground(genome, ground.motifs, pd.DataFrame(), [], ground.folder)
    columns = null_columns(text, "filters12", FEATURES // 5 if small else FEATURES)
    source = detector_source(genome, {contig: Table.of(columns)})
    table = judge(other, source, evaluate_on(genome, [path]), "regions", motifs=None, repeats="softmask")
    kind = table["concept"].str.split("-").str[0]
    return {
        "regions_null": {
            name: {
                "annotations": int((kind == name).sum()),
                "regions_p": float((table.loc[kind == name, "regions_p"] <= 0.05).mean()),
                "shift_p": float((table.loc[kind == name, "shift_p"] <= 0.05).mean()),
                "supported": share_of(cast(pd.DataFrame, table[kind == name]), "supported"),
            }
            for name in ("exon", "repeat")
        }
    }


def rare(ground: Ground, small: bool) -> dict[str, Any]:
    """Few peaks on a long random genome, of which the model knows most."""
    bases, width = (12_000_000 if small else 50_000_000), 300
    rng = np.random.default_rng(11)
    path, beds = ground.folder / "rare.fa", [ground.folder / f"rare.{name}.bed" for name in ("peaks", "repeats")]
    text = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, bases)].tobytes().decode()
    path.write_text(">r\n" + "".join(f"{text[i : i + 80]}\n" for i in range(0, bases, 80)))
    start = np.sort(rng.integers(0, bases - width, 21 * bases // 1_000_000))
    for bed, first, name in ((beds[0], start, "peak"), (beds[1], rng.integers(0, bases - width, bases // 2000), "Alu")):
        rows = pd.DataFrame({"contig": "r", "start": first, "end": first + width, "name": name})
        rows.to_csv(bed, sep="\t", header=False, index=False)
    genome = Genome(path)
    known = on_sites(*partly(start, start + width, bases, rng, recall=0.8, precision=0.8), "full")
    columns = [always(known), *noise_columns(bases, 15, rng)]
    other = Ground(genome, ground.motifs, pd.DataFrame(), [], ground.folder)
    source = detector_source(genome, {"r": Table.of(columns)})
    table = judge(other, source, evaluate_on(genome, beds[:1]), "rare", motifs=None, repeats=str(beds[1]))
    row = table.iloc[0]
    return {
        "rare": {"bases": bases, "peaks": len(start), "instances": int(row["instances"]), "verdict": row["verdict"]}
    }


def parts(ground: Ground, data: Path, small: bool) -> Mapping[str, Callable[[], dict[str, Any]]]:
    """What can be measured, by name."""
    return {
        "null": lambda: null(ground, small),
        "regions": lambda: regions_null(ground, data, small),
        "power": lambda: power(ground, small),
        "word": lambda: word(ground, small),
        "repeat": lambda: repeat(ground, small),
        "single": lambda: single(ground, small),
        "rare": lambda: rare(ground, small),
    }


def measured(data: Path, folder: Path, only: Sequence[str] = (), *, small: bool = False) -> dict[str, Any]:
    """Measure some parts, or all."""
    ground = Ground.at(data, folder)
    found: dict[str, Any] = {}
    for name, part in parts(ground, data, small).items():
        if not only or name in only:
            found |= part()
    return found


def markdown(found: Mapping[str, Any]) -> list[str]:
    """The rows of the table in docs/methods.md."""
    rows = []
    for kind, wins in found["null_wins"].items():
        between = f"{wins['low']:.3f} to {wins['high']:.3f}"
        what = f"null, {KIND_NAMES[kind]}: motifs that win against {wins['decoys']} decoys ({wins['pairs']} pairs)"
        rows.append((what, f"1 / {wins['decoys'] + 1}; {between}", f"{wins['share']:.3f}"))
    for name, what in (("null_discoveries", "with q at most .05"), ("null_supported", "that are `supported`")):
        rows.append((f"null, all four: pairs {what}", "at most 5 %", _percents(found[name].values())))
    for kind, one in found["regions_null"].items():
        what = (
            f"null, {one['annotations']} draws of random regions like {kind}s: p at most .05 against regions like them"
        )
        rows.append((what, "5 %", _percents([one["regions_p"]])))
        rows.append(
            (
                "the same draws: `supported`, and p at most .05 by shifts",
                "0 %, none",
                _percents([one["supported"], one["shift_p"]]),
            )
        )
    for behaviour in BEHAVIOURS:
        one = found["power"][behaviour]
        rows.append(
            (
                f"{one['pairs']} detectors of {BEHAVIOUR_NAMES[behaviour]}: `supported`",
                "95 %",
                _percents([one["supported"]]),
            )
        )
    widths = found["power"]["partial"]["by_width"]
    what = (
        "detectors of 30 % of the sites at a precision of .6, on all bases, the last three, the last one: `supported`"
    )
    rows.append((what, "80 %", _percents(one["supported"] for one in widths.values())))
    word, alu = found["word_is_word"], found["repeat_is_repeat"]
    rows.append(
        (f"{word['pairs']} detectors of the best word of six letters: `word`", "95 %", _percents([word["word"]]))
    )
    rows.append((f"{alu['pairs']} features that follow a place of Alu: `repeat`", "all", _percents([alu["repeat"]])))
    both = alu["sites_inside_and_outside"]
    what = f"{both['pairs']} detectors of motifs that lie in Alu and elsewhere: `supported`"
    rows.append((what, "all", _percents([both["supported"]])))
    single = set(found["single_motif_supported"].values())
    rows.append(
        (
            "CTCF alone, detected on all bases, half, the last three, the last one",
            "`supported`",
            ", ".join(f"`{v}`" for v in sorted(single)),
        )
    )
    rare = found["rare"]
    bases = f"{rare['bases'] // 1_000_000} Mb"
    what = f"{rare['peaks']:,} peaks on {bases} ({rare['instances']} on the report half), most of them known"
    rows.append((what, "not `low-power`", f"`{rare['verdict']}`"))
    return ["| what | expected | measured |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]


def _percents(shares: Iterable[float]) -> str:
    return ", ".join(f"{100 * share:.0f} %" for share in shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="measure, and print JSON")
    parser.add_argument("--table", type=Path, help="print a file of JSON, with all parts, as Markdown")
    parser.add_argument("--small", action="store_true", help="few features and motifs: a minute instead of an hour")
    parser.add_argument("--only", nargs="*", default=(), help="null, regions, power, word, repeat, single, rare")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sequence and the matrices")
    options = parser.parse_args()
    if options.table:
        print("\n".join(markdown(json.loads(options.table.read_text()))))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measured(options.data, Path(folder), options.only, small=options.small), indent=2))


if __name__ == "__main__":
    main()
