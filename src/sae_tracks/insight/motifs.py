"""What features respond to: their strongest places, aligned to a motif, compared with known ones, and named.

A motif is made on the select half. Whether it tells the feature's places from silent ones is measured on the report
half, and so is where the feature peaks.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.annotations import Annotation, read_annotation, read_annotations
from sae_tracks.controls.chance import adjusted
from sae_tracks.controls.opened import ALU
from sae_tracks.dna import NUCLEOTIDES, OTHER
from sae_tracks.errors import SaeTracksError
from sae_tracks.features import run
from sae_tracks.files import digest
from sae_tracks.insight.align import LEAST_SITES, Alignment, align
from sae_tracks.insight.named import SITE, FeatureMotifs
from sae_tracks.insight.places import FLANK, Places, windows_at
from sae_tracks.insight.separation import like, separation
from sae_tracks.insight.tomtom import FEW, Comparison, compare_motifs
from sae_tracks.insight.where import Q, Sites, alu_context, half_bases, most_enriched, names_of
from sae_tracks.metrics import Evaluation, Halves, annotation_checksums, split_halves
from sae_tracks.motifs import Motif, named_motifs
from sae_tracks.names import feature_name
from sae_tracks.progress import counter
from sae_tracks.source import Source
from sae_tracks.threads import in_threads

PLACES, APART = 1000, 100
MIN_OVERLAP = 5  # columns of a motif and a known one, at least, or all of the narrower one
MATCHES = 3  # known motifs that the table names
HELD = 1 << 20  # windows in memory at once, about
BLOCK = 32_768  # bases of a block of the bootstrap
log = logging.getLogger(__name__)


def feature_motifs(
    source: Source,
    halves: Halves | Evaluation | None = None,
    features: Iterable[int] | None = None,
    *,
    places: int = PLACES,
    apart: int = APART,
    motifs: str | None = None,
    repeats: str | None = None,
    annotation: Sequence[str | Path] = (),
    alias: str | Path | None = None,
    seed: int = 0,
) -> FeatureMotifs:
    """Name what features respond to: align the sequence of their strongest places, and look where these lie.

    One pass over the genome finds the strongest places of each feature in each half. The windows of those on the select
    half, 30 bases on either side of the peak along the direction of reading, are shifted and turned until they agree.
    The motif is then scored on the windows of the report half: does it tell the feature's places from places with the
    same GC content at which the feature is silent? A motif is given if it does (q < 0.05 over all features).

    Memory: at 1,000 places per half, about 75 kB per feature and read strand while the genome is read, 10 kB for the
    places at which features are silent, and then 35 kB for the places.

    Parameters
    ----------
    source : Source
        Language model, SAE, genome, regions and read strands.
    halves : Halves or Evaluation, optional
        The bases that choose and those that report. Default: those of `split_halves`.
    features : iterable of int, optional
        Feature ids; default: all that the SAE does not call dead.
    places : int
        Most places per feature and half.
    apart : int
        Fewest bases between two places of a feature, 61 or more.
    motifs : str, optional
        A file of known matrices, or a release such as ``JASPAR2024``, that motifs are compared with.
    repeats : str, optional
        An annotation of repeats, ``softmask`` for the lower case of the FASTA, or ``alu`` for an alignment, which also
        tells the position in the consensus.
    annotation : sequence of path
        Genes, or any annotation: the share of the places in each concept is compared with that of all bases.
    alias : str or path, optional
        Other names of contigs; see `read_annotation`.
    seed : int
        Of the draw of silent places and of the bootstrap.

    Returns
    -------
    FeatureMotifs
        The table, the motifs and the places; `write` makes files of them.

    Raises
    ------
    SaeTracksError
        A feature is not in the SAE, the regions lie in one half, or a file cannot be read.
    """
    ids = _asked(source, features)
    halves = halves.halves if isinstance(halves, Evaluation) else halves or split_halves(source.regions or ())
    known, known_from = named_motifs(motifs) if motifs else ([], None)
    genes = read_annotations(annotation, source.genome, source.regions, alias=alias) if annotation else None
    copies = _read_repeats(repeats, source, alias)
    sink = Places(source, halves, ids, places, apart, seed)
    run(source.blocks(ids), sink)
    studied = _study(sink, seed)
    table, made = _table(ids, studied, halves)
    table = table.join(_matched(made, known, table))
    report = [some["line"][some["half"] == len(halves.names) - 1] for some in studied.places.values()]
    table = table.join(_where(sink, report, repeats == ALU, copies, genes))
    table = _named(table)
    facts = source.provenance() | {
        "halves_sha256": digest([str(halves)]),
        "features": len(ids),
        "places": places,
        "apart": apart,
        "flank": FLANK,
        "background": "frequencies of A, C, G and T on the select half, both strands",
        "motifs": known_from,
        "repeats": None if repeats is None else annotation_checksums([repeats]),
        "annotation": annotation_checksums(annotation),
        "alias": None if alias is None else str(alias),
        "seed": seed,
    }
    return FeatureMotifs(table, made, studied.places, studied.background, facts, source, sink.line, halves)


def _asked(source: Source, features: Iterable[int] | None) -> list[int]:
    """The features to look at, ascending."""
    if features is None:
        stats = source.sae.stats
        features = range(source.sae.d_sae) if stats is None else np.flatnonzero(~stats["dead"].to_numpy(bool)).tolist()
    return source.sae.check_features(features).tolist()


def _read_repeats(name: str | None, source: Source, alias: str | Path | None) -> Annotation | None:
    if name is None or name == ALU:
        return None
    found = read_annotation(name, source.genome, source.regions, alias=alias)
    if not len(found):
        raise SaeTracksError(f"{found.source} has no repeat in the regions: leave --repeats out, or name another file")
    return found


@dataclass(slots=True)
class _Found:
    """What the windows of one feature say."""

    why: str = ""  # why there is no motif
    alignment: Alignment | None = None
    silent: int = 0
    auroc: tuple[float, float, float] = (np.nan, np.nan, np.nan)  # with its interval
    p: float = np.nan


@dataclass(frozen=True, slots=True)
class _Studied:
    found: list[_Found]
    places: dict[int, NDArray]
    background: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Silent:
    """The drawn tiles of a half, and their windows."""

    tiles: NDArray[np.int64]
    line: NDArray[np.int64]
    windows: NDArray[np.uint8]

    @classmethod
    def of(cls, sink: Places, half: int) -> "_Silent":
        tiles = sink.tiles(half)
        line, strands = sink.middles(tiles), np.array(sink.source.read_strands)
        backwards = strands[np.arange(len(tiles)) % len(strands)] == "-"
        return cls(tiles, line, windows_at(sink.source.genome, sink.line, line, backwards))

    def places(self, sink: Places, column: int, wanted: int) -> NDArray[np.int64]:
        """Tiles in which a feature is silent; if there are fewer than wanted, those on whose middle base it is."""
        throughout, here = sink.silent(column, self.tiles)
        return np.flatnonzero(throughout if throughout.sum() >= wanted else here)


def _study(sink: Places, seed: int) -> _Studied:
    """Align the windows of every feature; features are handled in groups that fit in memory."""
    halves = range(len(sink.halves.names))
    silent = [_Silent.of(sink, half) for half in halves]
    letters = np.bincount(silent[0].windows.ravel(), minlength=OTHER + 1)[:OTHER] + 1.0
    background = (letters + letters[::-1]) / (2 * letters.sum())
    places, found = dict[int, NDArray](), list[_Found]()
    group = max(HELD // (sink.count * len(halves)), 1)
    with counter("aligning", len(sink.features)) as advance:
        for first in range(0, len(sink.features), group):
            columns = range(first, min(first + group, len(sink.features)))
            made = {column: _sites(sink, column) for column in columns}
            found += _aligned(sink, silent, background, made, seed, advance)
            places |= {sink.features[column]: some for column, some in made.items()}
    return _Studied(found, places, background)


def _sites(sink: Places, column: int) -> NDArray:
    """(n,) `SITE`: the places of a feature, those of the select half first, without sites so far."""
    parts = []
    for half in range(len(sink.halves.names)):
        best = sink.best(column, half)
        some = np.zeros(len(best), SITE)
        some["half"] = half
        for name in ("line", "strand", "value"):
            some[name] = best[name]
        parts.append(some)
    return np.concatenate(parts)


def _aligned(
    sink: Places, silent: list[_Silent], background, made: dict[int, NDArray], seed: int, advance
) -> list[_Found]:
    """Study the features of a group, and fill in the sites of their motifs."""
    rows = np.concatenate(list(made.values()))
    backwards = np.array(sink.source.read_strands)[rows["strand"]] == "-"
    windows = windows_at(sink.source.genome, sink.line, rows["line"], backwards)
    edges = np.cumsum([0, *(len(some) for some in made.values())])
    found = [_Found() for _ in made]

    def study(part: slice) -> None:
        for i, column in list(enumerate(made))[part]:
            mine = slice(edges[i], edges[i + 1])
            found[i] = _one(sink, silent, background, column, made[column], windows[mine], seed)
            if (alignment := found[i].alignment) is not None:
                _fill_sites(made[column], windows[mine], backwards[mine], alignment)
            advance()

    with in_threads() as each:
        each(study, len(made), 1)
    return found


def _one(sink: Places, silent: list[_Silent], background, column: int, places: NDArray, windows, seed: int) -> _Found:
    """Align the windows of the select half of a feature, and score the motif on the report half."""
    last = len(silent) - 1
    chosen, reported = windows[places["half"] == 0], places["half"] == last
    if not len(places):
        return _Found("never active in the regions")
    for name, number in zip(sink.halves.names, (len(chosen), int(reported.sum()))):
        if number < LEAST_SITES:
            return _Found(f"{number} places on the {name} half, fewer than {LEAST_SITES}")
    others = silent[0].windows[silent[0].places(sink, column, len(chosen))]
    alignment = align(chosen, others, background)
    if alignment is None:
        return _Found("no informative column")
    if not last:
        return _Found("there is no second half to test it on", alignment)
    positive, candidates = windows[reported], silent[last].places(sink, column, int(reported.sum()))
    candidates = np.random.default_rng(seed).permutation(candidates)  # of equal GC, no end of the half is preferred
    candidates = candidates[like(_gc(positive), _gc(silent[last].windows[candidates]))]
    if len(candidates) < LEAST_SITES:
        return _Found(f"{len(candidates)} silent places on the report half, fewer than {LEAST_SITES}", alignment)
    score, _, _ = alignment.place(positive)
    other, _, _ = alignment.place(silent[last].windows[candidates])
    blocks = places["line"][reported] // BLOCK, silent[last].line[candidates] // BLOCK
    auroc, low, high, p = separation(score, other, blocks[0], blocks[1], seed)
    return _Found("", alignment, len(candidates), (auroc, low, high), p)


def _gc(windows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(n,) int64: G and C of each window."""
    return ((windows == 1) | (windows == 2)).sum(axis=1)


def _fill_sites(
    places: NDArray, windows: NDArray[np.uint8], backwards: NDArray[np.bool_], alignment: Alignment
) -> None:
    """Where the motif lies, in bases from each place on the forward strand."""
    score, start, turned = alignment.place(windows)
    places["bases"] = np.where(score > 0, alignment.width, 0)
    places["first"] = np.where(backwards, FLANK - start - alignment.width + 1, start - FLANK)
    places["turned"] = turned


def _table(ids: list[int], studied: _Studied, halves: Halves) -> tuple[pd.DataFrame, list[Motif]]:
    """One row per feature on its motif, and the motifs that hold."""
    q = adjusted(np.array([found.p for found in studied.found], np.float64))
    rows, motifs = [], []
    for feature, found, one_q in zip(ids, studied.found, q):
        places, alignment = studied.places[feature], found.alignment
        held = alignment is not None and one_q < Q
        why = found.why or ("" if held else "tells no places from silent ones on the report half")
        consensus = consensus_of(alignment.counts) if held and alignment else ""
        if held and alignment:
            motifs.append(Motif(feature_name(feature), consensus, alignment.counts.astype(np.float64)))
        rows.append({
            "feature": feature_name(feature),
            "why": why,
            "places": int((places["half"] == 0).sum()),
            "report_places": int((places["half"] == len(halves.names) - 1).sum()),
            "silent_places": found.silent,
            "sites": int(motifs[-1].counts.sum(axis=1).max()) if held else 0,
            "width": alignment.width if held and alignment else 0,
            "consensus": consensus,
            "information": float(alignment.information().sum()) if held and alignment else np.nan,
            **dict(zip(("auroc", "auroc_low", "auroc_high"), found.auroc)),
            "auroc_q": one_q,
        })  # fmt: skip
    return pd.DataFrame(rows), motifs


IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "AC": "M", "AG": "R", "AT": "W", "CG": "S", "CT": "Y", "GT": "K"}


def consensus_of(counts: NDArray[np.integer]) -> str:
    """Consensus in IUPAC's letters (Cavener 1987): one letter that has half of the sites and twice as many as the next,
    else two that have three quarters, else N."""
    letters = []
    for row in counts:
        order = np.argsort(-row, kind="stable")
        top, second, n = row[order[0]], row[order[1]], row.sum()
        if 2 * top >= n and top >= 2 * second:
            letters.append(NUCLEOTIDES[order[0]])
        elif 4 * (top + second) >= 3 * n:
            letters.append(IUPAC["".join(sorted(NUCLEOTIDES[i] for i in order[:2]))])
        else:
            letters.append("N")
    return "".join(letters)


def _matched(motifs: list[Motif], known: Sequence[Motif], table: pd.DataFrame) -> pd.DataFrame:
    """The known motifs that are most like each feature's, with q-values over all pairs."""
    empty = {"match": "", "match_tf": "", "match_p": np.nan, "match_q": np.nan, "match_strand": "", "more_matches": ""}
    found = {feature: dict(empty) for feature in table["feature"]}
    if motifs and known:
        if len(known) < FEW:
            log.warning(
                "%d known motifs: with fewer than %d, p-values depend on which ones are compared", len(known), FEW
            )
        compared = compare_motifs(motifs, known, min_overlap=MIN_OVERLAP)
        q = adjusted(compared.p.ravel()).reshape(compared.p.shape)
        for row, motif in enumerate(motifs):
            found[motif.matrix_id] = _match(compared, q, row, known)
    return pd.DataFrame(list(found.values()), index=table.index)


def _match(compared: Comparison, q: NDArray[np.float64], row: int, known: Sequence[Motif]) -> dict[str, Any]:
    first, *rest = compared.best(row, MATCHES)
    more = [f"{_title(known[i])} q={q[row, i]:.1e}" for i in rest if q[row, i] < Q]
    return {
        "match": known[first].matrix_id,
        "match_tf": known[first].tf,
        "match_p": compared.p[row, first],
        "match_q": q[row, first],
        "match_strand": "+" if compared.strand[row, first] > 0 else "-",
        "more_matches": "; ".join(more),
    }


def _title(motif: Motif) -> str:
    return f"{motif.tf} ({motif.matrix_id})" if motif.tf else motif.matrix_id


def _where(
    sink: Places, report: list[NDArray[np.int64]], alu: bool, copies: Annotation | None, genes: Annotation | None
) -> pd.DataFrame:
    """In which repeats and in which concepts features peak on the report half."""
    last = len(sink.halves.names) - 1
    bases = half_bases(sink.source, sink.halves, last, sink.line)
    parts = []
    if alu:
        parts.append(alu_context(sink.source, sink.line, report, sink.middles(sink.tiles(last))[::_STEP]))
    for kind, read, stranded in (("repeat", copies, False), ("concept", genes, True)):
        if read is not None:
            parts.append(most_enriched(Sites.of(read, sink.line, bases, stranded=stranded), report, kind))
    return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=range(len(report)))


_STEP = 5  # of the drawn tiles every fifth says which share of the bases lies in Alu


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with names behind the features: of a repeat first, then of a concept, then of a known motif."""
    names, origin = [""] * len(table), [""] * len(table)
    known = [f"{tf} ({match})" if tf else match for tf, match in zip(table["match_tf"], table["match"])]
    matched = [name if q < Q else "" for name, q in zip(known, table["match_q"])]
    kinds = {kind: names_of(table, kind) for kind in ("repeat", "concept") if kind in table}
    for kind, given in (kinds | {"motif": matched}).items():
        for i, name in enumerate(given):
            if name and not names[i]:
                names[i], origin[i] = name, kind
    table = table.copy()
    table.insert(1, "name", names)
    table.insert(2, "name_from", origin)
    return table
