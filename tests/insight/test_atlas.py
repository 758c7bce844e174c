"""The atlas against dense arithmetic, and planted neighbours."""

import json

import numpy as np
import pandas as pd
import pytest
from alike import FEATURES, alike_source
from command_line import run
from toy import random_sae

from sae_tracks.errors import SaeTracksError
from sae_tracks.insight import atlas as room
from sae_tracks.insight.atlas import atlas
from sae_tracks.sae import save_sae
from sae_tracks.source import Source


@pytest.fixture
def source(tmp_path):
    return alike_source(tmp_path)


def dense(source, threshold):
    """(bases, features) bool: where features are active, once per read strand."""
    parts = [block.to_scipy().toarray()[block.readable] for block in source.blocks()]
    return np.concatenate(parts) > threshold


def test_neighbours_are_those_of_dense_similarities(source):
    found = atlas(source)
    decoder, activity = found.planes
    rows = source.sae.W_dec.numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    active = dense(source, 0.15).astype(int)
    both, alone = active.T @ active, active.sum(axis=0)
    seen = np.flatnonzero(alone)
    assert decoder.features.tolist() == list(range(FEATURES)) and activity.features.tolist() == seen.tolist()
    assert 4 not in seen and len(seen) >= 20
    jaccard = both / np.maximum(alone[:, None] + alone - both, 1)
    for plane, similarity in ((decoder, rows @ rows.T), (activity, jaccard[seen][:, seen])):
        others = similarity - 2 * np.eye(len(similarity))
        ascending = np.sort(others, axis=1)[:, ::-1]
        assert np.allclose(plane.similarity, ascending[:, :5], atol=1e-6)
        for i, near in enumerate(plane.nearest):
            real = near[near >= 0]
            values = others[i, np.searchsorted(plane.features, real)]
            assert (values > 0).all() and np.allclose(values, ascending[i, : len(real)], atol=1e-6)
            assert len(real) == min(5, (ascending[i] > 0).sum())
    assert decoder.nearest[0, 0] == 1 and activity.nearest[activity.features == 2, 0] == 3
    assert 1 not in activity.nearest[0]
    density = found.table.set_index("feature")["density"]
    assert np.allclose(density, active.mean(axis=0)) and density["f4"] == 0
    row = found.table.set_index("feature").loc[["f0", "f4"]]
    assert row["decoder_near"].iloc[0].startswith("f1,") and row["decoder_cosine"].iloc[0].startswith("1.000,")
    assert pd.isna(row.loc["f4", ["activity_x", "activity_near"]]).all() and not pd.isna(row.loc["f4", "decoder_x"])


def test_the_plane_is_that_of_principal_components(source):
    plane = atlas(source).planes[0]
    rows = source.sae.W_dec.double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows - rows.mean(axis=0)
    left, size, _ = np.linalg.svd(rows, full_matrices=False)
    expected = left[:, :2] * size[:2]
    for axis in range(2):
        one, other = plane.position[:, axis], expected[:, axis]
        assert np.allclose(one, other * np.sign(one @ other), atol=1e-4)
        assert one[np.abs(one).argmax()] > 0  # so the sign is not up to rounding


def test_what_a_plane_keeps_is_counted(monkeypatch):
    """All of what lies in a plane already; by chance little."""
    rng = np.random.default_rng(0)
    angle = np.sort(rng.uniform(0, np.pi / 2, 200))
    flat = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    ids = np.arange(200)
    assert room._plane("decoder", ids, flat @ flat.T, room._principal).kept > 0.95
    pairs = np.kron(np.eye(100), np.ones((2, 2))).astype(np.float32)  # each has one neighbour, which is next to it
    beside = np.repeat(rng.standard_normal((100, 2)), 2, axis=0) + 1e-6 * rng.standard_normal((200, 2))
    assert room._plane("activity", ids, pairs, lambda similarity: beside).kept == 1
    assert not room._plane("activity", ids, np.ones((200, 200), np.float32), room._principal).position.any()
    drawn = room._plane("decoder", ids, flat @ flat.T, lambda similarity: rng.standard_normal((200, 2)))
    assert drawn.kept < 3 * drawn.chance and drawn.chance == 10 / 199
    monkeypatch.setattr(room, "BLOCK", 7)
    again = room._nearest(flat @ flat.T)
    monkeypatch.undo()
    assert all((a == b).all() for a, b in zip(again, room._nearest(flat @ flat.T)))


def test_chosen_features_dead_ones_and_errors(source, monkeypatch):
    source.sae.stats.loc[7, "dead"] = True
    assert "f7" not in set(atlas(source).table["feature"])
    chosen = [20, 3, 2, *range(8, 19)]
    found = atlas(source, chosen)
    assert found.table["feature"].tolist() == [f"f{i}" for i in sorted(chosen)]
    assert set(found.planes[0].nearest.ravel().tolist()) <= {*chosen, -1}
    with pytest.raises(SaeTracksError, match="11 features can be placed by decoder: an atlas needs at least 12"):
        atlas(source, range(8, 19))
    with monkeypatch.context() as patched:
        patched.setattr(room, "MOST", 29)
        with pytest.raises(SaeTracksError, match="30 features are too many for an atlas, at most 29"):
            atlas(Source(source.lm, random_sae(6, FEATURES), source.genome))
    source.sae.stats["dead"] = True
    with pytest.raises(SaeTracksError, match="all features of this SAE are dead"):
        atlas(source)
    source.sae.stats["dead"] = False
    with pytest.raises(SaeTracksError, match="layout 'tsne' is not known: pca or umap"):
        atlas(source, layout="tsne")
    with pytest.raises(SaeTracksError, match="feature"):
        atlas(source, [FEATURES])


def test_the_same_files_each_time(source, tmp_path):
    for name in "ab":
        atlas(source).write(tmp_path / name)
    for file in ("atlas.tsv", "atlas.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    planes = json.loads((tmp_path / "a" / "atlas.json").read_text())
    assert planes["decoder"]["measure"] == "cosine" and planes["activity"]["features"] == len(
        atlas(source).planes[1].features
    )
    record = json.loads((tmp_path / "a" / "atlas.provenance.json").read_text())
    assert record["sae_sha256"] == source.sae.checksum and record["layout"] == "pca"


def test_umap_keeps_groups(source):
    pytest.importorskip("umap", reason="needs umap-learn: pip install 'sae-tracks[umap]'")
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.standard_normal((20, 4)))[0].T
    rows = np.repeat(centres, 25, axis=0) + 0.05 * rng.standard_normal((100, 20))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    place = room._layout("umap", 3)
    first, again = place(rows @ rows.T), place(rows @ rows.T)
    assert (first == again).all()
    group = np.arange(100) // 25
    distance = np.linalg.norm(first[:, None] - first[None], axis=2) + np.where(np.eye(100), np.inf, 0)
    assert (group[distance.argmin(axis=1)] == group).all()


def test_the_command_writes_an_atlas(source, tmp_path, monkeypatch):
    source.sae.metadata["lm"] = {"model": "one-hot", "layer": 3}
    save_sae(source.sae, tmp_path / "sae")
    monkeypatch.setattr("sae_tracks.lm.load.load_lm", lambda *_, **__: source.lm)
    ran = run("atlas", "sae", "g.fa", "--read-strand", "both", "-o", "out", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert f"map by decoder: {FEATURES} features; " in ran.stderr
    assert "sae-tracks[umap]" in "".join(run("atlas", "--help").stdout.split())
    written = pd.read_csv(tmp_path / "out" / "atlas.tsv", sep="\t")
    assert np.allclose(written["activity_x"], atlas(source).table["activity_x"], atol=1e-5, equal_nan=True)
