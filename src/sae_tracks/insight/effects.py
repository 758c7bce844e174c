"""What features do in the model: how its predictions change if one feature at a time is ablated.

An effect belongs to the base at which the model predicts: the base that it has read last, where the feature is seen,
and not the base after it, which is predicted. In each window the model is read once, and what follows the SAE's layer
once more per feature that is active there. Of a causal model, the predictions before the first such base are left as
they are, because nothing reaches them but rounding.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

from sae_tracks.annotations import Annotation
from sae_tracks.bootstrap import Blocks
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, check_file, digest, write_provenance, write_tsv
from sae_tracks.insight.ablation import Ablation
from sae_tracks.insight.effect_sums import NAMES, Concepts, EffectSums, table_of
from sae_tracks.insight.shards import Arrays, Run, Shards
from sae_tracks.lm.rest import rest_of
from sae_tracks.metrics import read_table
from sae_tracks.metrics.scores import features_of
from sae_tracks.names import feature_name
from sae_tracks.regions import WHOLE, ReadStrand, Shard
from sae_tracks.source import Source


def effects(
    source: Source,
    features: Iterable[int],
    annotation: Annotation | None = None,
    *,
    threshold: float = 0.15,
    scale: str = "max",
    seed: int = 0,
) -> pd.DataFrame:
    """Ablate features one at a time, and measure how the predictions of the model change.

    The feature is set to zero at every base of a window, and the SAE's error is kept (see `spliced`). Memory grows with
    features x concepts, not with the genome.

    Parameters
    ----------
    source : Source
        Model, SAE, genome, regions and read strands. The model is a HyenaDNA with its next-base head, or a plug-in
        that offers outputs.
    features : iterable of int
        Feature ids.
    annotation : Annotation, optional
        From `read_annotation`. Changes are also averaged inside and outside of the sites of each concept.
    threshold, scale
        Where a feature counts as active, for the rows ``active``; see `SAE.cutoffs`.
    seed : int
        Of the bootstrap over blocks of 10 kb, or longer ones if there would be more than 200.

    Returns
    -------
    DataFrame
        Per feature and read strand, a row for ``all`` bases, one for those at which it is ``active``, and two per
        concept, ``inside`` and ``outside`` (column ``where``). ``bases``: predictions scored. Of a next-base model:
        ``nats``, the loss per base as it is, and ``change``, the mean increase of the loss if the feature is ablated,
        in nats. ``kl``: divergence of the predictions after the ablation from those before, in nats. ``p_A``, ...: mean
        change of the probability of a class. ``change_low``, ``kl_high``, ...: intervals of 95 %, NaN with fewer than
        five blocks. ``difference``, of rows ``inside``: change (of plug-ins: divergence) inside less that outside.

    Raises
    ------
    SaeTracksError
        It is not known what the model predicts, a feature is not in the SAE, or the regions hold nothing to score.

    Examples
    --------
    >>> table = effects(source, [357, 12], read_annotation("genes.gtf", source.genome))
    >>> table[table["where"] == "active"][["feature", "change", "change_low", "change_high"]]
    """
    return EffectRun(source, features, annotation, threshold=threshold, scale=scale, seed=seed).whole()


class EffectRun(Run):
    """A run of `effects`, which has the parameters; `run_shard` reads it in parts.

    `named` are more facts for the provenance, such as the files of the annotation.
    """

    verb = "effects"

    def __init__(
        self,
        source: Source,
        features: Iterable[int],
        annotation: Annotation | None = None,
        *,
        threshold: float = 0.15,
        scale: str = "max",
        seed: int = 0,
        named: Mapping[str, Any] | None = None,
    ) -> None:
        self._source, self._asked, self._named = source, list(dict.fromkeys(features)), dict(named or {})
        self._ids: list[int] = source.sae.check_features(self._asked).tolist()
        self._ablation = Ablation(source, self._ids, rest_of(source.lm), source.sae.cutoffs(threshold, scale))
        self._concepts, self._blocks = Concepts.of(annotation), Blocks.of(source.regions or [])
        self._settings = {"threshold": threshold, "scale": scale, "seed": seed}

    def whole(self) -> pd.DataFrame:
        """Read all windows, and return the table."""
        return _table([self._sums(strand, WHOLE) for strand in self._source.read_strands], self.inputs())

    def sources(self) -> list[dict[str, Any]]:
        return [self._source.provenance()]

    def facts(self) -> dict[str, Any]:
        sites = digest(f"{contig} {spans.tolist()}" for contig, many in self._concepts.spans.items() for spans in many)
        return {
            "features": self._asked,
            **self._named,
            **self._settings,
            "block": self._blocks.size,
            "sites_sha256": sites,
        }

    def inputs(self) -> dict[str, Any]:
        return {
            "asked": self._asked,
            "ids": self._ids,
            "read_strands": list(self._source.read_strands),
            "concepts": self._concepts.names,
            "measures": self._ablation.measures,
            "seed": self._settings["seed"],
        }

    def read(self, shard: Shard) -> Arrays:
        strands = self._source.read_strands
        sums = {number: self._sums(strand, shard) for number, strand in enumerate(strands)}
        return {f"{name}_{number}": getattr(one, name) for number, one in sums.items() for name in NAMES}

    def _sums(self, strand: ReadStrand, shard: Shard) -> EffectSums:
        w, b = 1 + len(self._concepts.names), len(self._blocks.number)
        sums = EffectSums.zeros(len(self._ids), w, b, len(self._ablation.measures))
        for stand in self._ablation.windows(strand, shard):
            sums.add(stand, self._ablation, self._concepts, self._blocks)
        return sums


def merge_effects(shards: Shards) -> pd.DataFrame:
    """Add the sums of all shards, and return the table; nothing is read again."""
    total: list[EffectSums] = []
    for arrays in shards.arrays():
        strands = range(len(shards.inputs["read_strands"]))
        sums = [EffectSums(*(arrays[f"{name}_{number}"] for name in NAMES)) for number in strands]
        for one, other in zip(total, sums):
            one.merge(other)
        total = total or sums
    return _table(total, shards.inputs)


def _table(sums: Sequence[EffectSums], inputs: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of all read strands, by feature in the order in which they were asked for."""
    if not all(one.bases[0].any() for one in sums):
        raise SaeTracksError(
            "the regions are too short: they hold no base at which a prediction can be scored, which is a readable "
            "base with A, C, G or T behind it"
        )
    names, more = [feature_name(i) for i in inputs["ids"]], (inputs["concepts"], inputs["measures"])
    parts = [table_of(one, names, *more, strand, inputs["seed"]) for strand, one in zip(inputs["read_strands"], sums)]
    table = pd.concat(parts, ignore_index=True)
    order = {feature_name(i): place for place, i in enumerate(inputs["asked"])}
    return table.sort_values("feature", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def features_with_verdict(table: str | Path, verdict: str) -> list[int]:
    """Return the features of the matches with a verdict in ``metrics.tsv`` or ``metrics.parquet``, in its order."""
    matches = read_table(Path(table))
    if missing := [name for name in ("feature", "verdict") if name not in matches]:
        raise SaeTracksError(f"{table} has no column {missing[0]!r}: name the metrics.tsv of sae-tracks metrics")
    found = matches[matches["verdict"] == verdict]
    if found.empty:
        known = ", ".join(sorted(set(matches["verdict"].dropna()))) or "none"
        raise SaeTracksError(f"no match in {table} has the verdict {verdict!r}; it has {known}")
    return features_of(cast(pd.DataFrame, found), table)


def write_effects(table: pd.DataFrame, out: Path, **facts: Any) -> None:
    """Write ``NAME.tsv``, ``NAME.parquet`` and ``NAME.tsv.provenance.json``; `out` must end in ``.tsv``."""
    check_name(out)
    with atomic(out.with_suffix(".parquet")) as temporary:
        table.to_parquet(temporary, index=False)
    write_tsv(table, out)
    write_provenance(out.parent, file_name=f"{out.name}.{PROVENANCE}", **facts)


def check_name(out: Path) -> None:
    """Refuse a name that does not end in ``.tsv``, or a place where no file can be written.

    The Parquet file beside it has the other ending.
    """
    if out.suffix != ".tsv":
        raise SaeTracksError(f"cannot write {out}: name a file that ends in .tsv")
    check_file(out)
