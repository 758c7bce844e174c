"""Does the meaning of a feature carry over to its partner in another SAE? Tables of `metrics` beside a comparison."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE
from sae_tracks.metrics import read_table
from sae_tracks.metrics.scores import BEST_SCORES, SCORES
from sae_tracks.records import read_made

COMPARED, COMPARED_TSV, CARRIED = "compare.parquet", "compare.tsv", "carried.tsv"
SUPPORTED = "supported"
MATCH = ["concept", "site_strand", "read_strand"]


@dataclass(frozen=True, slots=True)
class Meanings:
    """What `metrics` found for the features of one SAE.

    Attributes
    ----------
    pairs : DataFrame
        One row per concept, site strand, read strand and feature, at the pair's chosen threshold: `MATCH`, ``feature``,
        ``verdict``, ``f1``, ``ap`` (NaN if it was not measured), ``select_f1``.
    folder : Path
    """

    pairs: pd.DataFrame
    folder: Path

    def best(self) -> pd.DataFrame:
        """One row per feature, its index: the supported pair if there is one, else a tested one, else any.

        Among equals, the pair with the highest F1 on the select half is taken.
        """
        verdict = cast(pd.Series, self.pairs["verdict"])
        rank = np.where(verdict == SUPPORTED, 0, np.where(verdict == "not-tested", 2, 1))
        order = self.pairs.assign(rank=rank, worst=-self.pairs["select_f1"])
        best = order.sort_values(["rank", "worst", *MATCH], kind="stable").drop_duplicates("feature")
        return best.drop(columns=["rank", "worst", "select_f1"]).set_index("feature")

    def supported(self) -> pd.DataFrame:
        """The supported pairs."""
        return cast(pd.DataFrame, self.pairs[self.pairs["verdict"] == SUPPORTED]).reset_index(drop=True)


def read_meanings(path: Path, sae_sha256: str, read_strands: Collection[str]) -> Meanings:
    """Read what `metrics` wrote for an SAE.

    Parameters
    ----------
    path : path
        The folder, or its metrics.parquet or metrics.tsv.
    sae_sha256 : str
        Checksum of the SAE that must have been scored.
    read_strands : collection of "+" and "-"
        Only pairs of these are kept.

    Raises
    ------
    SaeTracksError
        A table is missing, another SAE was scored, or nothing was scored on these read strands.
    """
    folder = path if path.is_dir() else path.parent
    check_scored(folder, sae_sha256)
    pairs = read_table(folder / SCORES)
    pairs = cast(pd.DataFrame, pairs[pairs["chosen"] & pairs["read_strand"].isin(list(read_strands))])
    if pairs.empty:
        raise SaeTracksError(f"{folder} has no scores of read strand {' or '.join(read_strands)}: score these")
    best = read_table(folder / BEST_SCORES)
    ap = best.get("site_average_precision", np.nan)  # not there if no controls were run
    best = best[[*MATCH, "feature"]].assign(ap=ap)
    pairs = pairs[[*MATCH, "feature", "verdict", "f1", "select_f1"]].merge(best, "left", [*MATCH, "feature"])
    return Meanings(pairs.reset_index(drop=True), folder)


def check_scored(folder: Path, sae_sha256: str) -> None:
    """Refuse a folder of ``sae-tracks metrics`` that holds the scores of another SAE, or does not say of which."""
    scored = read_made(folder / PROVENANCE).get("sae_sha256")
    if scored is None:
        raise SaeTracksError(f"{folder} does not say which SAE was scored: name a folder that sae-tracks metrics wrote")
    if scored != sae_sha256:
        raise SaeTracksError(f"{folder} has scores of another SAE ({scored:.12}, not {sae_sha256:.12})")


def find_files(folders: Iterable[str | Path], names: Collection[str], nothing: str) -> dict[str, Path]:
    """Files of other verbs in folders, by name.

    Raises
    ------
    SaeTracksError
        A folder has none of them (`nothing` says so), or two have the same.
    """
    found: dict[str, Path] = {}
    for folder in map(Path, folders):
        here = [folder / name for name in names if (folder / name).is_file()]
        if not here:
            raise SaeTracksError(f"{folder} {nothing} {', '.join(names)}")
        for path in here:
            if path.name in found:
                raise SaeTracksError(f"two folders have {path.name}: {found[path.name].parent} and {folder}; name one")
            found[path.name] = path
    return found


def check_origin(table: Path, sae_sha256: str) -> None:
    """Refuse a table that was made of another SAE, if the record beside it says so."""
    names = (f"{table.stem}.{PROVENANCE}", f"{table.name}.{PROVENANCE}", PROVENANCE)
    records = [read_made(path) for name in names if (path := table.with_name(name)).is_file()]
    for record in records[:1]:
        made = record.get("sae_sha256") or (record.get("a") or {}).get("sae_sha256")
        if made not in (None, sae_sha256):
            raise SaeTracksError(f"{table} is of another SAE ({made:.12}, not {sae_sha256:.12})")


def beside(table: pd.DataFrame, ours: Meanings, theirs: Meanings) -> pd.DataFrame:
    """Add the best concepts of each feature and of its partner to the table of a comparison.

    ``carries_over`` is True if the two are supported for the same concept, site strand and read strand, False if only
    the feature is supported for any, and empty otherwise.
    """
    table = table.copy()
    for meanings, key, end in ((ours, "feature", "_a"), (theirs, "partner", "_b")):
        best = meanings.best().reindex(table[key])
        for name in ("concept", "site_strand", "verdict", "f1", "ap"):
            table[f"{name}{end}"] = best[name].to_numpy()
    mine, yours = _supported_of(ours), _supported_of(theirs)
    pairs = zip(table["feature"], table["partner"])
    carries = [bool(mine[f] & yours.get(partner, set())) if f in mine else None for f, partner in pairs]
    return table.assign(carries_over=pd.array(carries, "boolean"))


def _supported_of(meanings: Meanings) -> Mapping[str, set[tuple[str, ...]]]:
    """What each feature with a supported match is supported for."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for row in meanings.supported().to_dict("records"):
        found.setdefault(row["feature"], set()).add(tuple(row[name] for name in MATCH))
    return found


def carried(table: pd.DataFrame, ours: Meanings, theirs: Meanings) -> pd.DataFrame:
    """Return ``carried.tsv``: one row per supported match of the first SAE, and what its partner makes of the concept.

    ``partner_verdict`` and ``partner_f1`` are those of the partner with the same concept, site strand and read strand;
    empty if the scores have no such pair. ``best_b`` is the feature of the second SAE that is the best for the concept.
    """
    about = table.set_index("feature")[["partner", "correlation", "replicates"]]
    rows = ours.supported().drop(columns=["verdict", "select_f1"]).join(about, on="feature")
    others = theirs.pairs.rename(columns={"feature": "partner", "verdict": "partner_verdict", "f1": "partner_f1"})
    rows = rows.merge(others.drop(columns=["select_f1", "ap"]), "left", [*MATCH, "partner"])
    best = theirs.pairs.sort_values("select_f1", ascending=False, kind="stable").drop_duplicates(MATCH)
    best = best[[*MATCH, "feature", "verdict", "f1"]].set_axis(
        [*MATCH, "best_b", "best_b_verdict", "best_b_f1"], axis=1
    )
    return rows.merge(best, "left", MATCH).sort_values("f1", ascending=False, kind="stable").reset_index(drop=True)
