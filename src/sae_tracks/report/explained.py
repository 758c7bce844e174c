"""What other verbs found out about features, for the page: lines, motifs, neighbours, and what replicates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sae_tracks.bounded import read_text
from sae_tracks.errors import SaeTracksError
from sae_tracks.insight.meaning import COMPARED, check_origin, find_files
from sae_tracks.json_file import COUNT, read_json
from sae_tracks.motifs import read_motifs
from sae_tracks.names import ATLAS, DESCRIBED, MOTIFS, PLANES
from sae_tracks.report.logos import letter_heights
from sae_tracks.report.scores import read_columns

FILES = (DESCRIBED, MOTIFS, ATLAS, COMPARED)
REPLICATES = ("replicates", "partner", "correlation")
ATLAS_PLANE = {"measure": str, "features": COUNT, "kept": (float, None), "chance": (float, None)}
PIXELS = 10_000  # places in a plane are whole numbers from 0 to this


@dataclass(frozen=True, slots=True)
class Explained:
    """What is known of features.

    Attributes
    ----------
    features : dict
        By feature what there is of: ``line``, a sentence; ``motif``, heights of A, C, G and T in bits per position;
        ``compared``, with `REPLICATES`; ``decoder`` and ``activity``, its neighbours with their similarity.
    atlas : dict
        ``feature``, and per plane ``x`` and ``y`` (None without a place), ``size`` (the largest of them), ``kept``,
        ``chance``, ``features`` and ``measure``; empty without an atlas.
    compared : DataFrame, optional
        `REPLICATES` by feature.
    """

    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    atlas: dict[str, Any] = field(default_factory=dict)
    compared: pd.DataFrame | None = None


def read_explained(beside: Path, folders: Sequence[Path] = (), sae_sha256: str | None = None) -> Explained:
    """Read what `describe`, `motifs`, `atlas` and `compare` wrote.

    Parameters
    ----------
    beside : path
        The folder of the scores or tracks, which may hold some of the files.
    folders : sequence of path
        Others, each of which holds some.
    sae_sha256 : str, optional
        Checksum of the SAE that they must be of.

    Raises
    ------
    SaeTracksError
        A folder has none of the files, two have the same one, or a file cannot be read or is of another SAE.
    """
    places = {folder.resolve(): folder for folder in folders}
    if any((beside / name).is_file() for name in FILES):
        places = {beside.resolve(): beside} | places
    found = find_files(places.values(), FILES, "explains no feature: it has none of")
    for path in found.values():
        if sae_sha256:
            check_origin(path, sae_sha256)
    explained = Explained(compared=_compared(found[COMPARED]) if COMPARED in found else None)
    if explained.compared is not None:
        rows = explained.compared.dropna().to_dict("index")
        _add(explained, "compared", {f: row | {"correlation": round(row["correlation"], 4)} for f, row in rows.items()})
    if DESCRIBED in found:
        table = read_columns(found[DESCRIBED], ("feature", "line"), ("name", "line"))
        _add(explained, "line", dict(zip(table["feature"], table["line"])))
    if MOTIFS in found and b"\nMOTIF " in read_text(found[MOTIFS]):  # `motifs` may have found none
        heights = {one.matrix_id: np.round(letter_heights(one), 3).tolist() for one in read_motifs(str(found[MOTIFS]))}
        _add(explained, "motif", heights)
    if ATLAS in found:
        _add_atlas(explained, found[ATLAS])
    return explained


def _add(explained: Explained, name: str, values: dict[str, Any]) -> None:
    for feature, value in values.items():
        explained.features.setdefault(feature, {})[name] = value


def _add_atlas(explained: Explained, path: Path) -> None:
    texts = [f"{plane}_{column}" for plane, measure in PLANES.items() for column in ("near", measure)]
    places = [f"{plane}_{axis}" for plane in PLANES for axis in "xy"]
    table = read_columns(path, ("feature", *texts, *places), texts, places)
    for name in places:
        if not np.isfinite(table[name].to_numpy(np.float64)).any():
            raise SaeTracksError(f"{path}: no feature has a place in {name}; run sae-tracks atlas again")
    explained.atlas["feature"] = table["feature"].tolist()
    planes = read_json(path.with_suffix(".json"), dict.fromkeys(PLANES, ATLAS_PLANE), "run sae-tracks atlas again")
    for plane, measure in PLANES.items():
        explained.atlas[plane] = planes[plane] | _places(
            *(table[f"{plane}_{axis}"].to_numpy(np.float64) for axis in "xy")
        )
        rows = zip(table["feature"], table[f"{plane}_near"], table[f"{plane}_{measure}"])
        try:
            near = {
                feature: [[name, _finite(value)] for name, value in zip(names.split(","), values.split(","))]
                for feature, names, values in rows
                if names
            }
        except ValueError as error:
            raise SaeTracksError(f"{path}: column {plane}_{measure}: {error}; run sae-tracks atlas again") from error
        _add(explained, plane, near)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]!r} is no finite number")
    return value


def _places(x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, list[int | None]]:
    """Coordinates as whole numbers, in the same unit on both axes, and the largest ones."""
    low, high = ([bound(axis) for axis in (x, y)] for bound in (np.nanmin, np.nanmax))
    unit = PIXELS / (max(high[0] - low[0], high[1] - low[1]) or 1)
    places = [
        [None if np.isnan(one) else round(unit * (one - first)) for one in axis] for axis, first in zip((x, y), low)
    ]
    return {"x": places[0], "y": places[1], "size": [round(unit * (last - first)) for first, last in zip(low, high)]}


def _compared(path: Path) -> pd.DataFrame:
    return cast(pd.DataFrame, read_columns(path, ("feature", *REPLICATES), ()).set_index("feature")[list(REPLICATES)])
