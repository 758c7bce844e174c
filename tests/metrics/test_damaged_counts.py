"""``counts.npz`` with counts that nothing can count is refused; shards are held against their checksums."""

import numpy as np
import pandas as pd
import pytest

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import write_provenance
from sae_tracks.metrics.counts import Counts, OpenInstance, Place, load_counts
from sae_tracks.metrics.scores import COUNTS, add_shards
from sae_tracks.records import check_parts, part_sums


@pytest.fixture
def path(tmp_path):
    concepts = pd.DataFrame({"concept": ["A", "B"], "site_strand": [".", "+"], "tf": ["", "T"]})
    counts = Counts.zeros(["+"], ["all"], concepts, [0.1, 0.5], ["f1", "f2", "f3"])
    counts.bases[:] = 100
    counts.tp[0, 0, 1, 1] = [0, 4, 7]
    counts.hits[0, 0, 1, 1] = [0, 1, 2]
    counts.open[Place(0, "c1", 5, 9, 1)] = OpenInstance(0, 1, True, np.array([0, 2, 1], np.uint8))
    counts.save(tmp_path / COUNTS)
    return tmp_path / COUNTS


def change(path, name, edit):
    with np.load(path) as file:
        arrays = dict(file)
    arrays[name] = edit(arrays[name])
    np.savez(path, **arrays)


def test_what_was_saved_comes_back(path):
    counts = load_counts(path)
    assert counts.tp[0, 0, 1, 1].tolist() == [0, 4, 7] and counts.hits[0, 0, 1, 1].tolist() == [0, 1, 2]
    assert list(counts.open) == [Place(0, "c1", 5, 9, 1)]


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("bases", lambda a: -a),
        ("bases", lambda a: a + 0.5),
        ("bases", lambda a: a[0]),
        ("instances", lambda a: a[..., :1]),
        ("active", lambda a: a.astype(str)),
        ("threshold", lambda a: a[:1]),
        ("feature", lambda a: np.arange(3)),
        ("read_strand", lambda a: np.array(["?"])),
        ("tf", lambda a: a[:1]),
        ("tp_indptr", lambda a: a[::-1]),
        ("tp_indptr", lambda a: a * 2),
        ("tp_column", lambda a: a + 10**6),
        ("tp_column", lambda a: a - 10),
        ("tp_count", lambda a: a[:1]),
        ("hit_count", lambda a: a.astype(np.int64) - 100),
        ("open_place", lambda a: a + 5),
        ("open_state", lambda a: a[:, :2]),
        ("open_levels", lambda a: a + 9),
        ("open_contig", lambda a: np.arange(1)),
        ("format_version", lambda a: a + 1),
        ("format_version", lambda a: np.zeros(2)),
    ],
)
def test_counts_that_cannot_be_are_refused(path, name, edit):
    change(path, name, edit)
    with pytest.raises(SaeTracksError, match=r"cannot read .*counts\.npz as counts"):
        load_counts(path)


def test_a_shard_that_changed_since_it_was_written_is_refused(path):
    folder = path.parent
    write_provenance(folder, shard="1/1")
    with pytest.raises(
        SaeTracksError, match="field parts must be an object; it is missing; delete the folder and run that"
    ):
        add_shards([folder])
    write_provenance(folder, shard="1/1", parts=part_sums(folder, COUNTS))
    assert "parts" not in add_shards([folder])[1]
    change(path, "bases", lambda a: a + 1)  # sound numbers, and an archive whose own checksums are right
    with pytest.raises(SaeTracksError, match=r"counts\.npz has changed since it was written, by its SHA-256"):
        add_shards([folder])
    path.unlink()
    with pytest.raises(SaeTracksError, match=r"counts\.npz is missing: delete the folder and run that shard again"):
        add_shards([folder])


def test_a_file_without_a_checksum_is_refused(path):
    folder = path.parent
    sums = part_sums(folder, COUNTS)
    (folder / "controls").mkdir()
    (folder / "controls" / "words.npz").write_bytes(b"of another run")
    write_provenance(folder, shard="1/1", parts=sums)
    add_shards([folder])
    with pytest.raises(SaeTracksError, match=r"has no checksum of controls/words\.npz: delete the folder"):
        add_shards([folder], "controls")
    write_provenance(folder, shard="1/1", parts={"../counts.npz": "0", "controls/../../x": "0"})
    with pytest.raises(SaeTracksError, match=r"has no checksum of counts\.npz"):
        add_shards([folder])
    with pytest.raises(SaeTracksError, match=r"controls/\.\./\.\./x is missing"):
        check_parts(folder, "controls")


def test_a_file_of_a_shard_may_be_a_link(path, tmp_path):
    folder = path.parent
    write_provenance(folder, shard="1/1", parts=part_sums(folder, COUNTS))
    path.rename(tmp_path / "elsewhere.npz")
    path.symlink_to(tmp_path / "elsewhere.npz")
    add_shards([folder])
