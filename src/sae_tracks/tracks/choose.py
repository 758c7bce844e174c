"""Which features to export: those of the best matches of a table of scores."""

from pathlib import Path

from sae_tracks.errors import SaeTracksError
from sae_tracks.metrics.scores import read_table

COLUMNS = ("concept", "site_strand", "feature", "read_strand", "f1")


def top_features(table: str | Path, count: int) -> list[int]:
    """The features of the best matches by F1, each once.

    Parameters
    ----------
    table : path
        ``metrics.parquet`` or ``metrics.tsv``, of `metrics`. A match is a concept and site strand with a feature and
        read strand, at its best threshold; A, C, G and T count as any.
    count : int
        Matches; where a feature has several of them, there are fewer features.

    Returns
    -------
    list of int
        Best first.
    """
    matches = read_table(Path(table))
    if missing := [name for name in COLUMNS if name not in matches]:
        raise SaeTracksError(
            f"{table} has no column {missing[0]!r}: name the metrics.parquet or metrics.tsv of metrics"
        )
    matches = matches.dropna(subset="f1").sort_values("f1", ascending=False, kind="stable")
    best = matches.drop_duplicates([name for name in COLUMNS if name != "f1"]).head(count)
    return [int(name) for name in dict.fromkeys(best["feature"].astype(str).str.removeprefix("f"))]
