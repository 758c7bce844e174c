"""In-silico insertion: is a motif alone, put into other sequence, enough to raise a feature?

A feature that fires at the sites of a motif may read the motif, or what usually stands beside it. Here the motif's
words are put into sequence that has nothing else of it, and words of its decoys into the same sequence. If the feature
reads the motif, it tells the two apart.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from sae_tracks.bootstrap import INTERVAL, draws_of, interval
from sae_tracks.controls.items import auroc
from sae_tracks.controls.verdict import TEXTS, is_motif, verdicts
from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, make_folder, read_json, write_json, write_provenance, write_tsv
from sae_tracks.insight.contexts import KINDS, LEAST, Context, Shape, draw_contexts, kinds_of, words_of
from sae_tracks.insight.edits import FeatureReader
from sae_tracks.insight.meaning import check_scored
from sae_tracks.lm.edits import begin_edits
from sae_tracks.metrics.scores import BEST_SCORES, PAIR, SCORES, read_table
from sae_tracks.motifs import Motif, Scanner
from sae_tracks.names import feature_name, feature_number
from sae_tracks.progress import track
from sae_tracks.regions import ReadStrand
from sae_tracks.source import Source

REACH = 15  # bases behind a word in which the feature may fire, and with a model that is not causal also before it
CONTEXTS = 100  # of each kind
SPAN = 64  # bases from the place on that are read, at least: so most motifs get the same contexts, alone or with others
MOST_BYTES = 2 << 30  # of the responses at each base
INSERTION, PROFILE = "insertion", "insertion_profile"
PROFILE_COLUMNS = ("concept", "tf", "site_strand", "feature", "read_strand", "offset", "change", "low", "high")
JUDGED = ("insertion_auroc", "insertion_low", "insertion_high")
SITE, DECOY = 0, 1
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Insertion:
    """What insertions did.

    Attributes
    ----------
    table : DataFrame
        One row per motif, site strand, feature and read strand; see docs/formats.md.
    profile : DataFrame
        The mean change of the feature at each base around the word, with its interval.
    """

    table: pd.DataFrame
    profile: pd.DataFrame


@dataclass(frozen=True, slots=True)
class _Plan:
    """The copies of each context, and the R rows of the table, by their indices."""

    motifs: Sequence[Motif]
    words: list[tuple[list[bytes], list[bytes]]]  # of each motif, a word per context: sites, decoys
    features: list[int]
    motif: NDArray[np.int64]  # (R,)
    strand: NDArray[np.int64]  # (R,) of the site: 0 is +
    column: NDArray[np.int64]  # (R,) in `features`
    shape: Shape
    back: int  # bases before the word in which the feature may fire
    span: int  # bases from the word's first one on that are read

    def names(self, row: int, read_strand: ReadStrand) -> dict[str, str]:
        """The columns that identify a row."""
        motif = self.motifs[self.motif[row]]
        names = motif.matrix_id, motif.tf, "+-"[self.strand[row]], feature_name(self.features[self.column[row]])
        return dict(zip(("concept", "tf", "site_strand", "feature", "read_strand"), (*names, read_strand)))


def insert_motifs(
    source: Source,
    motifs: Sequence[Motif],
    features: Sequence[int],
    *,
    pairs: set[tuple[str, int]] | None = None,
    contexts: int = CONTEXTS,
    repeats: str | None = None,
    seed: int = 0,
) -> Insertion:
    """Put motifs into sequence without them, and measure what features do.

    Contexts are real sequence of the source's regions and the same sequence after a shuffle that keeps dinucleotides;
    see `draw_contexts`. Into each, one word of the motif and one of a decoy are put at the same place, in both
    orientations. A context with a site of the motif near the place is left out for this motif. The response to a word
    is the change of the feature's maximum over the word and `REACH` bases behind it (with a model that is not causal,
    also before it), in the direction of reading, against the context as it was.

    Parameters
    ----------
    source : Source
        Model, SAE, genome, regions, read strands and the number of bases of context.
    motifs : sequence of Motif
        From `sae_tracks.motifs.read_motifs`. Those without words or decoys have rows without numbers.
    features : sequence of int
        Feature ids.
    pairs : set of (matrix ID, feature id), optional
        Only these; default all.
    contexts : int
        Number of contexts of each kind, at least 20.
    repeats : str, optional
        A file, ``softmask`` or ``alu``: real contexts lie outside of repeats, and a third kind inside.
    seed : int
        Of words, shuffles and the bootstrap.

    Returns
    -------
    Insertion
        Its rows are in the order of the read strands, then of the motifs, features and site strands.

    Raises
    ------
    SaeTracksError
        The regions have too few contexts, a feature is not in the SAE, or the context is longer than the model reads.
    """
    features = list(dict.fromkeys(features))
    source.sae.check_features(features)
    plan = _plan(source, motifs, list(features), pairs, contexts, 3 if repeats else 2, seed)
    tables, profiles = [], []
    for strand in source.read_strands:
        drawn = draw_contexts(source, plan.shape, contexts, strand, repeats=repeats, seed=seed)
        found = _measure(source, plan, drawn, strand)
        tables.append(_table(plan, found, kinds_of(drawn), strand, seed))
        profiles += _profile(plan, found, kinds_of(drawn), strand, seed)
    profile = pd.concat(profiles, ignore_index=True) if profiles else pd.DataFrame(columns=PROFILE_COLUMNS)
    return Insertion(pd.concat(tables, ignore_index=True), profile)


def _plan(
    source: Source,
    motifs: Sequence[Motif],
    features: list[int],
    pairs: set[tuple[str, int]] | None,
    contexts: int,
    kinds: int,
    seed: int,
) -> _Plan:
    words = [words_of(motif, kinds * contexts, seed) for motif in motifs]
    wanted = np.array([[pairs is None or (m.matrix_id, f) in pairs for f in features] for m in motifs])
    motif, strand, column = np.nonzero(np.repeat(wanted[:, None], 2, axis=1))
    if without := [motif.matrix_id for motif, (sites, _) in zip(motifs, words) if not sites]:
        log.info("%d motifs have too few words or decoys and are left empty: %s", len(without), ", ".join(without))
    span = max(SPAN, max(motif.width for motif in motifs) + REACH)
    if (size := 4 * len(motif) * kinds * contexts * (span + REACH)) > MOST_BYTES:
        raise SaeTracksError(
            f"{len(motif):,} rows of {kinds * contexts} contexts need {size / 1e9:.1f} GB: name fewer features, "
            "matrices (--matrix) or contexts"
        )
    layout, causal = source.layout, source.lm.causal
    behind = span if causal else max(span, layout.after)
    if layout.before + behind > source.lm.max_length:
        raise SaeTracksError(
            f"{layout.before:,} bases of context and {behind} of the motif are more than the {source.lm.max_length:,} "
            "that this model reads: lower --context"
        )
    back = 0 if causal else min(REACH, layout.before)
    return _Plan(motifs, words, features, motif, strand, column, Shape(layout.before, behind), back, span)


@dataclass(frozen=True, slots=True)
class _Responses:
    """Responses to the words of each row."""

    change: NDArray[np.float32]  # (R, contexts, 2) of the maximum, by the motif's word and by the decoy's
    profile: NDArray[np.float32]  # (R, contexts, bases) by the motif's word, at each base
    used: NDArray[np.bool_]  # (R, contexts) the motif has words and no site near the place


def _measure(source: Source, plan: _Plan, contexts: Sequence[Context], read_strand: ReadStrand) -> _Responses:
    bases, place, rows = plan.back + plan.span, plan.shape.before, len(plan.motif)
    change = np.zeros((rows, len(contexts), 2), np.float32)
    profile = np.zeros((rows, len(contexts), bases), np.float32)
    reader = FeatureReader(source.sae, plan.features)
    width = np.array([motif.width for motif in plan.motifs])[plan.motif]
    far = np.arange(bases) >= (plan.back + width + REACH)[:, None]
    for number, context in enumerate(track(contexts, f"inserting {read_strand}", len(contexts))):
        copies, edits = _copies(plan, context, number, read_strand), begin_edits(source.lm, context.letters)
        values = reader.copies(edits, np.full(len(copies), place), copies, plan.back)
        values = values.reshape(len(plan.motifs), 2, 2, bases, len(plan.features))
        own = reader.values(edits.activations[place - plan.back : place + plan.span]).T[plan.column]
        highest = np.where(far, 0, own).max(axis=1)
        for word in (SITE, DECOY):
            found = values[plan.motif, plan.strand, word, :, plan.column]
            change[:, number, word] = np.where(far, 0, found).max(axis=1) - highest
            if word == SITE:
                profile[:, number] = found - own
    return _Responses(change, profile, _free(plan, contexts)[plan.motif])


def _copies(plan: _Plan, context: Context, number: int, read_strand: ReadStrand) -> NDArray[np.uint8]:
    """(motifs x 2 site strands x 2 words, span) letters from the place on, in the direction of reading."""
    behind, rows = context.letters[plan.shape.before :][: plan.span], []
    for sites, decoys in plan.words:
        for strand in "+-":
            for words in (sites, decoys):
                word = words[number] if words else b""
                word = word if strand == read_strand else reverse_complement(word)
                rows.append(word + behind[len(word) :])
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), plan.span)


def _free(plan: _Plan, contexts: Sequence[Context]) -> NDArray[np.bool_]:
    """(motifs, contexts) bool: the motif has words, and none of its sites touches bases from which responses come."""
    able = [i for i, (sites, _) in enumerate(plan.words) if sites]
    free = np.zeros((len(plan.motifs), len(contexts)), bool)
    if not able:
        return free
    free[able] = True
    scanner = Scanner([plan.motifs[i] for i in able])
    widths = np.array([plan.motifs[i].width for i in able])
    first = max(plan.shape.before - plan.back - scanner.widest + 1, 0)
    for number, context in enumerate(contexts):
        hits = scanner.scan(context.letters[first : plan.shape.before + plan.span])
        width = widths[hits.motif]
        start = hits.start + first - plan.shape.before
        near = (start + width > -plan.back) & (start < width + REACH)
        free[np.array(able)[hits.motif[near]], number] = False
    return free


def _table(
    plan: _Plan, found: _Responses, kinds: NDArray[np.int64], read_strand: ReadStrand, seed: int
) -> pd.DataFrame:
    rows, plain = [], kinds < KINDS.index("repeat")
    for row, used in enumerate(found.used):
        both = used & plain
        values = {**plan.names(row, read_strand), "contexts": int(both.sum())}
        values |= _scores(found.change[row, both], seed, "insertion")
        for number, kind in enumerate(KINDS):
            values |= _scores(found.change[row, used & (kinds == number)], seed, kind)
        last = plan.back + plan.motifs[plan.motif[row]].width + REACH
        highest = found.profile[row, both, :last].mean(axis=0).argmax() - plan.back if both.any() else np.nan
        rows.append(values | {"offset": float(highest)})
    return pd.DataFrame(rows)


def _scores(change: NDArray[np.float32], seed: int, name: str) -> dict[str, float]:
    """AUROC of motifs against decoys and the mean changes, from (n, 2) changes; NaN with fewer than 20 contexts.

    Intervals are over contexts.
    """
    columns = [
        f"{name}{end}" for end in ("_auroc", "_low", "_high", "_change", "_change_low", "_change_high", "_decoy")
    ]
    if len(change) < LEAST:
        return dict.fromkeys(columns, np.nan)
    n = len(change)
    levels, level = np.unique(change, return_inverse=True)
    counts = np.zeros((2, n, len(levels)))
    for word in (SITE, DECOY):
        counts[word, np.arange(n), level.reshape(n, 2)[:, word]] = 1
    draws, mean = draws_of(n, seed), change.mean(axis=0, dtype=np.float64)
    value = float(auroc(counts[SITE].sum(axis=0), counts[DECOY].sum(axis=0)))
    ends = interval(auroc(draws @ counts[SITE], draws @ counts[DECOY]))
    return dict(zip(columns, (value, *ends, mean[SITE], *interval(draws @ change[:, SITE] / n), mean[DECOY])))


def _profile(
    plan: _Plan, found: _Responses, kinds: NDArray[np.int64], read_strand: ReadStrand, seed: int
) -> list[pd.DataFrame]:
    """A table per row, with a line per base; `offset` counts from the word's first base in the direction of reading."""
    tables = []
    for row, used in enumerate(found.used & (kinds < KINDS.index("repeat"))):
        if used.any():
            last = plan.back + plan.motifs[plan.motif[row]].width + REACH
            change = found.profile[row, used, :last].astype(np.float64)
            low, high = np.percentile(draws_of(len(change), seed) @ change / len(change), INTERVAL, axis=0)
            columns = {"offset": np.arange(last) - plan.back, "change": change.mean(axis=0), "low": low, "high": high}
            tables.append(pd.DataFrame({**plan.names(row, read_strand), **columns}))
    return tables


def write_insertion(found: Insertion, out: Path, **facts: Any) -> None:
    """Write ``insertion.tsv``, ``insertion.parquet`` and ``insertion_profile.parquet``, and how they were made."""
    make_folder(out)
    for name, table in ((INSERTION, found.table), (PROFILE, found.profile)):
        with atomic(out / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    write_tsv(found.table, out / f"{INSERTION}.tsv")
    write_provenance(out, file_name=f"{INSERTION}.{PROVENANCE}", **facts)


def matches_of(scores: Path, source: Source, verdict: Sequence[str]) -> set[tuple[str, int]]:
    """The motifs and features of the matches with one of these verdicts, in a folder of ``sae-tracks metrics``.

    Raises
    ------
    SaeTracksError
        The scores are of another SAE, or there is no such match.
    """
    check_scored(scores, source.sae.checksum)
    best = read_judged(scores)
    wanted = best[is_motif(best) & best["verdict"].isin(verdict)]
    if not len(wanted):
        raise SaeTracksError(
            f"{scores / BEST_SCORES} has no motif with the verdict {' or '.join(verdict)}: --verdict names others"
        )
    return {(concept, feature_number(name)) for concept, name in zip(wanted["concept"], wanted["feature"])}


def judge_again(scores: Path, found: pd.DataFrame) -> pd.DataFrame:
    """Add the AUROC of insertion to ``metrics.tsv`` of a folder of ``sae-tracks metrics``, and judge its matches again.

    Matches that were not measured keep what they have. Verdicts change in ``metrics.parquet`` too, and the folder's
    provenance says that matches were judged again. Returns the rows of ``metrics.tsv``.
    """
    best = read_judged(scores)
    pairs = pd.MultiIndex.from_frame(cast(pd.DataFrame, best[PAIR]))
    measured = found.set_index(PAIR)[list(JUDGED)].reindex(pairs).reset_index(drop=True)
    kept = best.reindex(columns=list(JUDGED)).astype(np.float64)
    known = measured.combine_first(kept)
    best = best.assign(**{name: known[name] for name in JUDGED})
    judged = verdicts(best)
    best = best.assign(**{str(name): judged[name] for name in judged})
    verdict = cast(pd.Series, best.set_index(PAIR)["verdict"])
    with atomic(scores / SCORES) as temporary:
        _rewrite(scores / SCORES, temporary, verdict)
        write_tsv(best, scores / BEST_SCORES)
    record = read_json(scores / PROVENANCE)
    write_json(
        scores / PROVENANCE,
        record | {"judged_again": {"insertion": int(np.isfinite(found["insertion_auroc"].to_numpy()).sum())}},
    )
    return best


def read_judged(scores: Path) -> pd.DataFrame:
    """Read ``metrics.tsv`` of a folder whose matches have verdicts; an error if no control tests were run."""
    best = read_table(scores / BEST_SCORES, TEXTS)
    if "untested" not in best:
        raise SaeTracksError(f"{scores} has scores without control tests: run metrics with --controls first")
    return best


def _rewrite(table: Path, out: Path, verdict: pd.Series) -> None:
    """Copy a table of pairs, part by part, with the verdicts of the best ones."""
    file = parquet.ParquetFile(table)
    with parquet.ParquetWriter(out, file.schema_arrow) as writer:
        for batch in file.iter_batches():
            rows = batch.to_pandas()
            known = verdict.reindex(pd.MultiIndex.from_frame(cast(pd.DataFrame, rows[PAIR]))).to_numpy(object)
            rows["verdict"] = np.where(pd.isna(known), rows["verdict"], known)
            writer.write_table(pa.Table.from_pandas(rows, file.schema_arrow, preserve_index=False))
