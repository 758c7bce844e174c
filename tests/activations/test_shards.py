"""Activation shards: what is written comes back, and what is damaged is refused by name."""

import json
import os

import numpy as np
import pytest
from command_line import run
from stored_rows import D, damage_empty, damage_truncate, flip, store, whole

from sae_tracks.activations.shards import MANIFEST, open_shards
from sae_tracks.errors import SaeTracksError


@pytest.fixture
def shards(tmp_path):
    return store(tmp_path / "act", [5, 0, 7, 1])


def test_rows_come_back_memory_mapped_and_open_in_numpy(shards):
    rows, loci = shards[2]
    assert isinstance(rows, np.memmap) and isinstance(loci, np.memmap)
    assert (rows.dtype, rows.shape, loci.dtype, loci.shape) == (np.float16, (7, D), np.int32, (7, 2))
    assert np.array_equal(np.load(shards.folder / "shard-00002.npy"), rows)
    assert shards.rows == 13 and shards.d_model == D and len(shards) == 4
    assert [len(rows) for rows, _ in shards] == [5, 0, 7, 1]


@pytest.mark.parametrize("span", [(0, 0), (0, 13), (4, 6), (12, 14), (3, 45), (26, 27)])
def test_reading_rows_goes_over_shards_and_round_the_end(shards, span):
    rows, _ = whole(shards)
    assert np.array_equal(shards.read_rows(*span), rows[np.arange(*span) % 13])


def test_a_folder_without_manifest_is_not_complete(shards):
    (shards.folder / MANIFEST).unlink()
    with pytest.raises(SaeTracksError, match=r"has no manifest\.json"):
        open_shards(shards.folder)


def damage_width(path):
    np.save(path, np.load(path)[:, :1])


def damage_rows(path):
    np.save(path, np.load(path)[1:])


def damage_type(path):
    np.save(path, np.load(path).astype(np.float64))


def damage_pickle(path):
    np.save(path, np.array([print], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("name", ["shard-00000.npy", "shard-00002.loci.npy"])
@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_empty, damage_width, damage_rows, damage_type, damage_pickle, "unlink"]
)
def test_a_damaged_file_is_named_when_the_folder_is_opened(shards, damage, name):
    path = shards.folder / name
    path.unlink() if damage == "unlink" else damage(path)
    with pytest.raises(SaeTracksError, match=name) as error:
        open_shards(shards.folder)
    assert "\n" not in str(error.value)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(shards):
    path = shards.shards[0].paths(shards.folder)[0]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SaeTracksError, match=f"{path.name} is a named pipe"):
        open_shards(shards.folder)


def test_a_changed_byte_is_found_when_the_shard_is_first_read(shards):
    flip(shards.folder / "shard-00002.npy")
    reopened = open_shards(shards.folder)
    assert len(reopened[0][0]) == 5
    with pytest.raises(SaeTracksError, match=r"shard-00002\.npy: its SHA-256"):
        reopened[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "field format_version must be 1; it is 99"),
        (
            {"shards": [{"name": "shard-00000"}]},
            r"field shards\[0\].rows must be a whole number from 0 to .*; it is missing",
        ),
        ({"lm": None}, "field lm must be an object; it is null"),
        ({"rows": 12}, "rows is 12; its shards have 13"),
        ({"windows_sha256": "0"}, r"windows\.bed: its SHA-256 is not the manifest's"),
        (
            {"shards": [{"name": "../shard-00000", "rows": 13, "sha256": "", "loci_sha256": ""}]},
            "is no name of an activation shard",
        ),
    ],
)
def test_a_manifest_of_another_kind_is_refused(shards, change, message):
    manifest = json.loads((shards.folder / MANIFEST).read_text())
    (shards.folder / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(SaeTracksError, match=message):
        open_shards(shards.folder)


@pytest.mark.parametrize("damage", [damage_truncate, flip])
def test_the_command_line_names_a_damaged_shard_and_writes_nothing(shards, damage, tmp_path):
    damage(shards.folder / "shard-00002.npy")
    out = run("shuffle", str(shards.folder), "-o", str(tmp_path / "out"))
    assert out.returncode == 1
    assert out.stderr.startswith("error: ") and "shard-00002.npy" in out.stderr
    assert len(out.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").glob("*"))
