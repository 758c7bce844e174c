"""The features of the best matches of a table of scores."""

import pandas as pd
import pytest

from sae_tracks.errors import SaeTracksError
from sae_tracks.metrics import top_features

ROWS = pd.DataFrame(
    {
        "concept": ["x", "x", "y", "z", "w", "x"],
        "tf": ["", "NA", "", "", "", ""],
        "site_strand": ["+", "+", "+", "-", "+", "+"],
        "feature": ["f3", "f3", "f12", "f3", "f5", "f7"],
        "read_strand": ["+", "+", "+", "+", "+", "-"],
        "threshold": [0, 0.5, 0, 0, 0, 0],
        "f1": [0.7, 0.8, 0.75, 0.9, None, 0.1],
    }
)


@pytest.mark.parametrize("name", ["metrics.parquet", "metrics.tsv"])
@pytest.mark.parametrize("count, expected", [(1, [3]), (2, [3]), (3, [3, 12]), (99, [3, 12, 7])])
def test_the_features_of_the_best_matches_each_once(tmp_path, name, count, expected):
    """z f3, x f3 (at its better threshold), y f12, x f7; w has no F1."""
    if name.endswith("tsv"):
        ROWS.to_csv(tmp_path / name, sep="\t", index=False)
    else:
        ROWS.to_parquet(tmp_path / name)
    assert top_features(tmp_path / name, count) == expected


def test_a_table_of_something_else_is_an_error(tmp_path):
    (tmp_path / "x.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(SaeTracksError, match="no column 'concept'"):
        top_features(tmp_path / "x.tsv", 1)
    with pytest.raises(SaeTracksError, match="no table"):
        top_features(tmp_path / "y.tsv", 1)
    ROWS.assign(feature="peak1").to_csv(tmp_path / "z.tsv", sep="\t", index=False)
    with pytest.raises(SaeTracksError, match="its feature 'peak1' has no name like f357"):
        top_features(tmp_path / "z.tsv", 1)
