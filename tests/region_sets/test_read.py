"""What is said of a matrix that cannot be read, with or without the package that reads it."""

import pytest

from sae_tracks.errors import SaeTracksError
from sae_tracks.region_sets.read import read_matrix


def test_only_an_h5ad_is_read_again(tmp_path):
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    with pytest.raises(SaeTracksError, match=r"m\.parquet: only an \.h5ad is read again"):
        read_matrix(tmp_path / "m.parquet")
    with pytest.raises(SaeTracksError, match=r"no file .*m\.h5ad"):
        read_matrix(tmp_path / "m.h5ad")
