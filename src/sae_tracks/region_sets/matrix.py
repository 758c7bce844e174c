"""The region x feature matrix: how active every feature is in every region of a set."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.files import digest, provenance_record, without_folders
from sae_tracks.genome import Genome
from sae_tracks.insight.describe import describe_features
from sae_tracks.names import feature_name
from sae_tracks.region_sets.matched import Landscape
from sae_tracks.region_sets.regions import COLUMNS, RegionSet, unique_names
from sae_tracks.region_sets.stores import FORMAT_VERSION, Entries, open_store
from sae_tracks.region_sets.sums import RegionRows, region_rows
from sae_tracks.sae.model import SAE
from sae_tracks.source import Source

SIDES = {"+": "plus", "-": "minus"}
KNOWN = ("name", "line", "concept", "verdict", "f1")  # what `describe` says of a feature, for the columns
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MatrixReport:
    """What `region_matrix` wrote."""

    regions: int
    columns: int
    entries: int
    unread: int  # regions without a readable base


def region_matrix(
    source: Source,
    regions: RegionSet,
    out: Path,
    *,
    features: Iterable[int] | None = None,
    threshold: float = 0.15,
    scale: str = "max",
    explained: Sequence[str | Path] = (),
    named: Mapping[str, Any] | None = None,
) -> MatrixReport:
    """Write how active every feature is in every region: mean, maximum and share of active bases.

    Only the bases of the regions are read, and memory does not grow with their number times the features. Two read
    strands of a source are columns of their own, ``f357.plus`` and ``f357.minus``.

    Parameters
    ----------
    source : Source
        Model, SAE, genome and read strands. Regions of the set that do not lie whole in its regions are left out.
    regions : RegionSet
        From `read_region_set` or `read_gene_set`.
    out : path
        ``.h5ad`` (AnnData), ``.parquet`` (one row per entry) or a folder ``.mtx`` (layout of 10x); docs/formats.md
        has the layouts.
    features : iterable of int, optional
        Feature ids; default all.
    threshold, scale
        Where a feature counts as active; see `SAE.cutoffs`.
    explained : sequence of path
        Folders for `describe_features`, whose names, lines and best concepts become columns of ``var``.
    named : mapping, optional
        More facts for the provenance, such as the file of the regions.

    Returns
    -------
    MatrixReport
        How much was written.

    Raises
    ------
    SaeTracksError
        No region is left, all of them are runs of N, a feature is not in the SAE, the file's ending is of no format, or
        anndata is not installed.

    Examples
    --------
    >>> source = Source(load_lm("demo"), load_sae("sae/"), Genome("hg38.fa"))
    >>> region_matrix(source, read_region_set("peaks.bed", source.genome), Path("peaks.h5ad"))
    """
    sae, strands = source.sae, list(source.read_strands)
    ids = sae.check_features(range(sae.d_sae) if features is None else features).numpy()
    cutoffs = sae.cutoffs(threshold, scale)
    regions = regions.inside(source.regions or [])
    obs, var = _rows_of(regions, source.genome), _columns_of(sae, ids, strands, explained)
    facts = {"format_version": FORMAT_VERSION, "regions_from": regions.source, **(named or {})}
    facts |= {"threshold": threshold, "scale": scale}
    read = replace(source, regions=regions.regions()).provenance()
    facts |= read | {"regions": f"sha256 {digest(read['regions'])}"}
    record = without_folders(provenance_record(**facts))
    asked = None if features is None else ids.tolist()
    readable, entries = {strand: list[NDArray[np.int64]]() for strand in strands}, 0
    with open_store(out, obs, var) as store:
        streams = [region_rows(source, regions, cutoffs, features=asked, read_strand=strand) for strand in strands]
        for parts in _aligned(streams):
            rows = _entries(parts, ids)
            store.add(rows)
            entries += len(rows.column)
            for strand, part in zip(strands, parts):
                readable[strand].append(part.readable)
        for strand, counts in readable.items():
            obs[_on("readable", strand, strands)] = np.concatenate(counts)
        store.finish(obs, var, record)
    unread = int((np.sum([np.concatenate(counts) for counts in readable.values()], axis=0) == 0).sum())
    if unread:
        log.warning("%d of %d regions have no readable base: their rows are empty", unread, len(regions))
    return MatrixReport(len(obs), len(var), entries, unread)


def _on(name: str, strand: str, strands: Sequence[str]) -> str:
    """The name of something of one read strand; plain if there is only one."""
    return f"{name}.{SIDES[strand]}" if len(strands) > 1 else name


def _rows_of(regions: RegionSet, genome: Genome) -> pd.DataFrame:
    """``obs``: where the regions lie, and what they are made of, by their names."""
    table = regions.table
    names = table["Name"].astype(str).to_numpy(object)
    places = (f"{chrom}:{start}-{end}" for chrom, start, end in zip(table["Chromosome"], table["Start"], table["End"]))
    own = (names != "").all() and len(set(names)) == len(names)
    if not own and (names != "").any():
        log.info("%s: the regions are called by their places, because not every one has a name of its own",
                 regions.source)  # fmt: skip
    obs = pd.DataFrame({
        "chrom": pd.Categorical(table["Chromosome"].astype(str)),
        "start": table["Start"].to_numpy(),
        "end": table["End"].to_numpy(),
        "strand": pd.Categorical(table["Strand"].astype(str)),
        "row": table["Row"].to_numpy(),
        "name": names,
        **{name: table[name].to_numpy() for name in table.columns.drop(list(COLUMNS))},
        **Landscape(genome, []).measure(table)[["gc", "cpg"]],
    })  # fmt: skip
    obs.index = names if own else unique_names(list(places))
    return obs


def _columns_of(
    sae: SAE, ids: NDArray[np.int64], strands: Sequence[str], explained: Sequence[str | Path]
) -> pd.DataFrame:
    """``var``: the features, once per read strand, and what is known of them."""
    about = {"feature": ids}
    if explained:
        table = describe_features(sae, explained).iloc[ids]
        about |= {name: table[name].to_numpy() for name in KNOWN if name in table}
        if "read_strand" in table:
            about["concept_read_strand"] = table["read_strand"].to_numpy()
    parts = []
    for strand in strands:
        index = [_on(feature_name(i), strand, strands) for i in ids.tolist()]
        parts.append(pd.DataFrame(about | {"read_strand": strand}, index=index))
    var = pd.concat(parts)
    for name in var.columns.difference(["feature", "f1"]):
        var[name] = var[name].fillna("").astype(str)
    return var


def _aligned(streams: Sequence[Iterator[RegionRows]]) -> Iterator[list[RegionRows]]:
    """Yield the same regions of several streams of one set together."""
    held = [next(stream, None) for stream in streams]
    while whole := [rows for rows in held if rows is not None]:
        n = min(map(len, whole))
        yield [rows.part(0, n) for rows in whole]
        held = [rows.part(n, len(rows)) if len(rows) > n else next(s, None) for rows, s in zip(whole, streams)]


def _entries(parts: Sequence[RegionRows], ids: NDArray[np.int64]) -> Entries:
    """The entries of the same regions in each read strand, one strand's columns behind the other's."""
    column, row, mean, maximum, active = [], [], [], [], []
    for i, part in enumerate(parts):
        here = np.repeat(np.arange(len(part)), np.diff(part.indptr))
        bases = part.readable[here]
        row.append(here)
        column.append(np.searchsorted(ids, part.feature).astype(np.int32) + np.int32(i * len(ids)))
        mean.append((part.total / bases).astype(np.float32))
        maximum.append(part.maximum)
        active.append((part.active / bases).astype(np.float32))
    order = np.argsort(np.concatenate(row), kind="stable") if len(parts) > 1 else slice(None)
    indptr = np.sum([part.indptr for part in parts], axis=0)
    return Entries(indptr, *(np.concatenate(one)[order] for one in (column, mean, maximum, active)))
