"""Joins the shards of a run of ``motifs``, ``effects``, ``compare`` or ``insert``."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sae_tracks.errors import SaeTracksError
from sae_tracks.insight.compare import SAEComparison, merge_compare
from sae_tracks.insight.effects import check_name, merge_effects, write_effects
from sae_tracks.insight.insert import Insertion, merge_insert, write_insertion
from sae_tracks.insight.judged import judge_again, read_judged
from sae_tracks.insight.meaning import check_scored
from sae_tracks.insight.motifs import merge_motifs
from sae_tracks.insight.named import FeatureMotifs
from sae_tracks.insight.shards import Shards, read_shards


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of a run that was read in shards.

    Attributes
    ----------
    verb : str
        The verb of ``sae-tracks`` that wrote the shards.
    result : FeatureMotifs, DataFrame, SAEComparison or Insertion
        What the function of that verb returns: `feature_motifs`, `effects`, `compare_saes` or `insert_motifs`.
    """

    verb: str
    result: FeatureMotifs | pd.DataFrame | SAEComparison | Insertion


def merge_shards(folders: Iterable[str | Path], out: str | Path) -> Merged:
    """Join the shards of a run, and write what one run would have written.

    No language model is read. `motifs` reads the FASTA again and the files that it was given, `compare` the scores.
    `insert` judges the matches again whose motifs were taken from scores.

    Parameters
    ----------
    folders : iterable of path
        What ``motifs``, ``effects``, ``compare`` or ``insert`` wrote with ``--shard 1/n`` to ``n/n``, in any order.
    out : path
        A folder, made if it is missing; of ``effects`` a file that ends in ``.tsv``.

    Returns
    -------
    Merged
        The verb, and its result.

    Raises
    ------
    SaeTracksError
        A folder holds no shard, shards are of different runs, or one is missing or there twice. A file that is read
        again is gone or has changed.

    Examples
    --------
    >>> merge_shards(["shards/1", "shards/2"], "motifs/").result.table
    """
    shards, out = read_shards(folders), Path(out)
    if shards.verb not in _MERGE:
        raise SaeTracksError(f"the shards are of {shards.verb}, which this version does not know")
    return Merged(shards.verb, _MERGE[shards.verb](shards, out))


def _motifs(shards: Shards, out: Path) -> FeatureMotifs:
    found = merge_motifs(shards)
    found.write(out)
    return found


def _effects(shards: Shards, out: Path) -> pd.DataFrame:
    check_name(out)
    found = merge_effects(shards)
    write_effects(found, out, **shards.provenance())
    return found


def _compare(shards: Shards, out: Path) -> SAEComparison:
    found = merge_compare(shards)
    found.write(out)
    return found


def _insert(shards: Shards, out: Path) -> Insertion:
    scores = shards.inputs["scores"] and Path(shards.inputs["scores"])
    if scores:
        check_scored(scores, shards.sources[0]["sae_sha256"])
        read_judged(scores)
    found = merge_insert(shards)
    write_insertion(found, out, **shards.provenance())
    if scores:
        judge_again(scores, found.table)
    return found


_MERGE = {"motifs": _motifs, "effects": _effects, "compare": _compare, "insert": _insert}
