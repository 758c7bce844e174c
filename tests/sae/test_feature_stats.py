"""The statistics of features are known by their ids, whatever the order of the rows; impossible ones are refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file, save_file
from toy import random_sae, unit_stats

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae import load_sae, save_sae


@pytest.fixture
def folder(tmp_path):
    sae = random_sae(4, 6)
    sae.stats = unit_stats(6).assign(max=np.arange(1, 7, dtype=np.float32))
    save_sae(sae, tmp_path / "sae")
    return tmp_path / "sae"


def change(folder, edit):
    path = folder / "feature_stats.parquet"
    edit(pd.read_parquet(path)).to_parquet(path, index=False)


def test_rows_in_another_order_mean_the_same(folder):
    before = load_sae(folder).stats
    change(folder, lambda table: table.sample(frac=1, random_state=1))
    assert load_sae(folder).stats.equals(before)
    assert load_sae(folder).maxima().tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.assign(feature=[0, 1, 2, 3, 4, 4]), "'feature' must have each of 0 to 5 once"),
        (lambda t: t.assign(feature=t["feature"] + 1), "'feature' must have each of 0 to 5 once"),
        (lambda t: t.assign(feature=t["feature"].astype(float)), "'feature' is of type float64"),
        (lambda t: t.assign(max=np.float32([1, 2, np.nan, 4, 5, 6])), "max of feature 2 is nan; expected 0 or more"),
        (lambda t: t.assign(max=np.float32([1, 2, 3, np.inf, 5, 6])), "max of feature 3 is inf"),
        (lambda t: t.assign(max=np.float32([1, -2, 3, 4, 5, 6])), "max of feature 1 is -2"),
        (lambda t: t.assign(max="x"), "'max' is of type "),
        (lambda t: t.assign(density=np.float32([-1] * 6)), "density of feature 0 is -1"),
        (lambda t: t.iloc[:5], "has 5 rows; the SAE has 6 features"),
        (lambda t: t.drop(columns="mean"), "has no column 'mean'"),
    ],
)
def test_statistics_that_cannot_be_are_refused(folder, edit, message):
    change(folder, edit)
    with pytest.raises(SaeTracksError, match=message):
        load_sae(folder)


def test_the_names_that_pandas_notes_in_a_file_are_not_asked(folder):
    path, before = folder / "feature_stats.parquet", load_sae(folder).stats
    path.write_bytes(path.read_bytes().replace(b'"name": "density"', b'"name": "densAty"'))
    assert "densAty" in parquet.ParquetFile(path).read().to_pandas()
    assert load_sae(folder).stats.equals(before)


def test_means_that_are_not_known_are_read(folder):
    change(folder, lambda table: table.assign(mean=np.float32(np.nan), density=np.float32(np.nan)))
    assert np.isnan(load_sae(folder).stats["mean"]).all()


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_weights_that_are_whole_numbers_are_refused(folder, dtype):
    path = folder / "sae_weights.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path)
    with pytest.raises(SaeTracksError, match=f"W_enc is of type {dtype}; weights are floating-point numbers"):
        load_sae(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("metadata", [], "field metadata must be an object"),
        ("metadata", {"lm": {"layer": "3"}}, r"field metadata\.lm\.layer must be a whole number"),
        ("metadata", {"training": {"rows": -1}}, r"field metadata\.training\.rows must be a whole number from 0"),
        ("d_in", 10**18, "field d_in must be a whole number from 1"),
    ],
)
def test_a_configuration_of_another_form_names_its_field(folder, key, value, message):
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(SaeTracksError, match=message):
        load_sae(folder)
