"""The file of a heatmap or profile: the matrix of deepTools, which computeMatrix writes and plotHeatmap reads."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from sae_tracks import bounded
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import atomic, sha256
from sae_tracks.json_file import COUNT, SIZE, parse_json
from sae_tracks.region_sets.profile import BinLayout, Profiles

SITE = ("Chromosome", "Start", "End", "Name", "Score", "Strand")
MATRIX = ".matrix.gz"  # how the names of such files end
SUPPORTED = {"unscaled 5 prime": 0, "unscaled 3 prime": 0}
HEADER = {
    **{"group_labels": [str], "sample_labels": [str], "group_boundaries": [COUNT], "bin size": (SIZE, [SIZE])},
    **{name: (COUNT, [COUNT]) for name in ("upstream", "downstream", "body", *SUPPORTED)},
    "ref point": (str, None, [(str, None)]),
}


def write_deeptools(profiles: Profiles, path: Path) -> None:
    """Write profiles as a matrix of deepTools, atomically.

    The first line is ``@`` and a JSON of the settings. Every other line is a region: BED6, then its bins, column after
    column; ``nan`` if there is no value.
    """
    sites, (regions, bins, columns) = profiles.sites, profiles.values.shape
    order = np.argsort(sites["Group"].cat.codes, kind="stable")
    sites = sites.iloc[order]
    name, score = sites["Name"].astype(str), sites["Score"].map(lambda score: "." if np.isnan(score) else f"{score:g}")
    bed = sites.assign(Name=name.where(name != "", "."), Score=score, Strand=sites["Strand"].astype(str))
    values = profiles.values[order].transpose(2, 1, 0).reshape(columns * bins, regions)
    columns_of_bed = [pa.array(bed[one].astype(str)) for one in SITE]
    table = pa.table([*columns_of_bed, *map(pa.array, values)], [str(i) for i in range(len(SITE) + len(values))])
    plain = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with (
        atomic(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as file,
    ):
        file.write(b"@" + json.dumps(_header(profiles), separators=(",", ":")).encode() + b"\n")
        csv.write_csv(table, file, plain)


def _header(profiles: Profiles) -> dict[str, Any]:
    """The settings as computeMatrix writes them."""
    layout, groups, columns = profiles.layout, profiles.sites["Group"].cat, len(profiles.columns)
    each = {
        "upstream": layout.before,
        "downstream": layout.after,
        "body": layout.body or 0,
        "bin size": layout.bin_size,
        "ref point": None if layout.body else layout.point,
        **SUPPORTED,
    }
    sizes = np.bincount(groups.codes, minlength=len(groups.categories))
    return {
        **{key: [value] * columns for key, value in each.items()},
        "verbose": False,
        "bin avg type": "mean",
        "missing data as zero": False,
        "min threshold": None,
        "max threshold": None,
        "scale": 1,
        "skip zeros": False,
        "nan after end": False,
        "proc number": 1,
        "sort regions": "keep",
        "sort using": "mean",
        "group_labels": [*groups.categories],
        "group_boundaries": [0, *np.cumsum(sizes).tolist()],
        "sample_labels": profiles.columns,
        "sample_boundaries": [len(layout.offsets) * i for i in range(columns + 1)],
    }


def is_deeptools(path: Path) -> bool:
    """Whether a file is a matrix of deepTools; one that cannot be read is none."""
    try:
        with bounded.opened(path) as raw, gzip.open(raw) as file:
            return file.read(2) == b"@{"
    except (SaeTracksError, OSError, EOFError, zlib.error):
        return False


def read_deeptools(path: Path) -> Profiles:
    """Read a matrix of deepTools, ours or one of computeMatrix.

    Returns
    -------
    Profiles
        The regions in the order of the file. Regions of computeMatrix have no score.

    Raises
    ------
    SaeTracksError
        The file is none or is cut short, its columns have different bins, or its regions consist of exons.
    """
    most = bounded.most_text()
    text = b"".join(bounded.unpacked(path, bounded.read_bytes(path, most), most))
    first, _, rows = text.partition(b"\n")
    del text
    header = parse_json(first.removeprefix(b"@"), f"the first line of {path}", HEADER)
    try:
        layout, groups, columns = _layout(header, path), header["group_labels"], header["sample_labels"]
        bins, number = len(layout.offsets), np.diff(header["group_boundaries"])
        names = [*SITE, *map(str, range(bins * len(columns)))]
        types = {name: pa.string() for name in SITE} | dict.fromkeys(names[6:], pa.float32())
        if bins * len(columns) > len(first) + len(rows):
            raise SaeTracksError(f"{path} is cut short: it names {bins:,} bins of {len(columns):,} columns")
        lines = csv.ReadOptions(column_names=names)
        nulls = csv.ConvertOptions(column_types=types, null_values=["nan", "NaN"], strings_can_be_null=False)
        parsed = csv.ParseOptions(delimiter="\t", quote_char=False)
        table = csv.read_csv(pa.BufferReader(rows), lines, parsed, nulls)
    except SaeTracksError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SaeTracksError(f"cannot read {path} as a matrix of deepTools: {error}") from error
    if len(table) != number.sum():
        raise SaeTracksError(f"{path} is cut short: it has {len(table):,} regions of {number.sum():,}")
    sites = table.select(SITE).to_pandas()
    if sites["Start"].str.contains(",").any():
        raise SaeTracksError(f"{path} has regions of several exons (computeMatrix --metagene), which are not drawn")
    sites = sites.assign(
        **{name: sites[name].astype(np.int64) for name in ("Start", "End")},
        Score=pd.to_numeric(sites["Score"], errors="coerce"),
        Group=pd.Categorical.from_codes(np.repeat(np.arange(len(groups)), number), groups),
    )
    values = np.array([table[name].to_numpy() for name in names[6:]], np.float32)
    values = values.reshape(len(columns), bins, len(table)).transpose(2, 1, 0)
    return Profiles(sites, layout, columns, np.ascontiguousarray(values), {"matrix": {str(path): sha256(path)}})


def _layout(header: dict[str, Any], path: Path) -> BinLayout:
    """Where the bins lie, which must be the same in all columns."""
    found = {}
    for key in ("upstream", "downstream", "body", "bin size", "ref point", *SUPPORTED):
        values = header[key] if isinstance(header[key], list) else [header[key]]
        if len(set(values)) > 1 or values[0] != SUPPORTED.get(key, values[0]):
            raise SaeTracksError(f"{path}: its {key} is {values}; only one for all columns, and no unscaled ends")
        found[key] = values[0]
    point = found["ref point"] or "start"
    return BinLayout(found["upstream"], found["downstream"], found["bin size"], point, found["body"] or None)
