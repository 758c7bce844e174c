"""What import-sae refuses, in one line and with nothing written, and that nothing in a file runs."""

import collections
import sys

import pytest
import torch
from command_line import run
from interop_files import D_SAE, draw, linear
from lightning_files import Raw
from payloads import NAMES, payloads
from test_import_sae import PLM, K, evo2_state, write

from sae_tracks.errors import SaeTracksError
from sae_tracks.sae.interop import import_sae

TOP_K = {"dict_class": "AutoEncoderTopK"}
BATCH = {"dict_class": "BatchTopKSAE", "k": 3}


def refused(source, tmp_path, message, **options):
    with pytest.raises(SaeTracksError, match=message) as error:
        import_sae(source, tmp_path / "sae", **options)
    assert "\n" not in str(error.value) and not (tmp_path / "sae").exists()


def changed(**changes):
    """The tensors of an AutoEncoder, some replaced; None leaves one out."""
    return {name: value for name, value in (linear("bias") | changes).items() if value is not None}


FILES = {
    "another class": (linear("bias"), {"dict_class": "CrossCoder"}, "dict_class 'CrossCoder' cannot be imported"),
    "a tensor is missing": (
        changed(**{"encoder.bias": None}), {"dict_class": "AutoEncoderNew"}, "has no tensor decoder.bias; it holds bias"
    ),
    "a tensor too many": (changed(extra=torch.ones(1)), {"dict_class": "AutoEncoder"}, "extra is not part of"),
    "a wrong shape": (
        changed(bias=torch.ones(5)), {"dict_class": "AutoEncoder"}, r"bias is \(5,\); the others make it \(6,\)"
    ),
    "no matrix": (
        changed(**{"encoder.weight": torch.ones(5)}), {"dict_class": "AutoEncoder"}, r"is \(5,\); it must be a matrix"
    ),
    "NaN": (
        changed(**{"encoder.weight": torch.full((D_SAE, 6), float("nan"))}), {"dict_class": "AutoEncoder"}, "holds NaN"
    ),
    "infinity": (changed(bias=torch.full((6,), float("inf"))), {"dict_class": "AutoEncoder"}, "bias holds NaN or inf"),
    "another k": (
        linear("b_dec", k=K, threshold=torch.tensor(1.0)), {"dict_class": "AutoEncoderTopK", "k": 4},
        "has k = 3; its config.json says 4",
    ),
    "k in words": (linear("b_dec"), {"dict_class": "AutoEncoderTopK", "k": "many"}, "k is 'many'"),
    "a k of 0": (linear("b_dec", k=K * 0, threshold=torch.tensor(1.0)), TOP_K, "k is 0; a topk needs a whole number"),
    "a k of 2.5": (linear("b_dec", k=torch.tensor(2.5)), TOP_K, "k is 2.5; a topk needs a whole number from 1 to 15"),
    "a k of 0 in the configuration": (linear("b_dec"), TOP_K | {"k": 0}, "k is 0; a topk needs a whole number"),
    "no k": (linear("b_dec"), {"dict_class": "AutoEncoderTopK"}, "has no tensor k"),
    "no threshold": (linear("b_dec", k=K), BATCH, "has no tensor threshold"),
    "a threshold a feature": (
        linear("b_dec", k=K, threshold=torch.ones(D_SAE)), BATCH, r"threshold is \(15,\); the others make it \(\)"
    ),
    "TopK or BatchTopK": (linear("b_dec", k=K, threshold=torch.tensor(1.0)), None, "is a TopK or a BatchTopK"),
    "directions of any length": (linear("bias"), None, "its directions are not of length 1"),
    "unknown": ({"weight": torch.ones(2, 2)}, None, "is of no autoencoder known here; it holds weight"),
    "rows of one norm": (
        linear("bias", normalize_to_sqrt_d=torch.tensor(True)), None, "treats each row by its own norm"
    ),
    "a negative maximum": (
        linear("bias", **PLM, activation_rescale_factor=-draw(D_SAE).abs()), None, "is negative; it holds the features'"
    ),
    "too many maxima": (linear("bias", **PLM, activation_rescale_factor=torch.ones(3)), None, r"is \(3,\)"),
    "a maximum of nearly 0": (
        linear("bias", **PLM, activation_rescale_factor=torch.full((D_SAE,), 1e-40)), None, "overflows float32"
    ),
    "nothing": ({}, None, "holds no named tensors"),
    "a list": ([torch.ones(2)], None, "holds no named tensors"),
    "more than tensors": (changed(epoch=3), {"dict_class": "AutoEncoder"}, "epoch is not a tensor"),
    "nested": ({"state_dict": linear("bias")}, None, "state_dict is not a tensor"),
    "complex numbers": (changed(bias=torch.ones(6) * 1j), None, "'torch ComplexFloatStorage'; expected float32"),
    "one name twice": ({"W": torch.ones(2, 2), "module.W": torch.ones(2, 2)}, None, "holds W twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_does_not_hold_together_is_refused(tmp_path, case):
    state, trainer, message = FILES[case]
    refused(write(tmp_path / "a", state, trainer), tmp_path, message)


def test_a_truncated_file_is_refused(tmp_path):
    file = write(tmp_path / "a", linear("bias")) / "ae.pt"
    file.write_bytes(file.read_bytes()[:-200])
    refused(file, tmp_path, "no zip archive, as torch writes since 1.6: cut short")
    torch.save(linear("bias"), file, _use_new_zipfile_serialization=False)
    refused(file, tmp_path, "no zip archive")


def test_a_folder_without_an_sae_or_with_several_is_refused(tmp_path):
    refused(tmp_path / "none", tmp_path, "no file or folder")
    (tmp_path / "a").mkdir()
    refused(tmp_path / "a", tmp_path, r"holds no SAE; readable are SAELens \(cfg.json with")
    for name in ("ae_100.pt", "ae_200.pt"):
        write(tmp_path / "a", linear("bias", unit=True), name=name)
    refused(tmp_path / "a", tmp_path, r"holds several .pt files \(ae_100.pt, ae_200.pt\): name one")
    assert import_sae(tmp_path / "a" / "ae_200.pt", tmp_path / "sae").file.name == "ae_200.pt"


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors", "feature_stats.parquet", "ae.pt"])
def test_a_folder_that_holds_an_sae_is_left_as_it_is(tmp_path, name):
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / name).write_text("mine")
    with pytest.raises(SaeTracksError, match=f"sae holds {name} already: name another folder or delete it"):
        import_sae(write(tmp_path / "a", linear("bias", unit=True)), tmp_path / "sae")
    assert [path.read_text() for path in (tmp_path / "sae").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "me/lm"}, "--model does not say where the SAE reads it"),
        ({"layer": 1, "hook": "x"}, "--layer and --hook both say where"),
        ({"k": 3}, "--k is for Evo 2's release alone"),
    ],
)
def test_options_that_contradict_are_refused(tmp_path, options, message):
    refused(write(tmp_path / "a", linear("bias", unit=True)), tmp_path, message, **options)


def test_evo_2_without_k_asks_for_it(tmp_path):
    refused(write(tmp_path / "a", evo2_state(), name="sae.pt"), tmp_path, r"give --k \(of Evo 2's: 64\)")


def test_the_verb_refuses_in_one_line(tmp_path):
    out = run("import-sae", str(write(tmp_path / "a", linear("bias"))), "-o", str(tmp_path / "sae"))
    assert out.returncode == 1 and len(out.stderr.splitlines()) == 1
    assert out.stderr.startswith("error: ") and "not of length 1" in out.stderr
    assert not (tmp_path / "sae").exists()


# Files that would run code.


def hide(place, payload):
    state = linear("bias", unit=True)
    if place == "key":
        return state | {payload: torch.ones(1)}
    if place == "value":
        return state | {"bias": payload}
    if place == "beside":
        return state | {"extra": payload}
    if place == "inside a tensor":
        rebuild = torch._utils._rebuild_tensor_v2
        storage = torch.storage.TypedStorage(
            wrap_storage=torch.ones(6).untyped_storage(), dtype=torch.float32, _internal=True
        )
        return state | {"bias": Raw(rebuild, storage, 0, (6,), (1,), False, payload)}
    return payload


@pytest.mark.parametrize("place", ["key", "value", "beside", "inside a tensor", "top"])
@pytest.mark.parametrize("name", NAMES)
def test_code_in_a_file_never_runs_and_the_file_is_refused(tmp_path, name, place):
    marker = tmp_path / "ran"
    folder = write(tmp_path / "a", hide(place, payloads(marker)[name]), {"dict_class": "AutoEncoder"})
    marker.unlink(missing_ok=True)
    before = set(sys.modules)
    refused(folder, tmp_path, "holds more than tensors: '.*', which would have to be run")
    assert not marker.exists() and set(sys.modules) == before


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_object_without_a_payload_is_refused_too(tmp_path, protocol):
    (tmp_path / "a").mkdir()
    state = linear("bias", counts=collections.Counter("aab"))
    torch.save(state, tmp_path / "a" / "ae.pt", pickle_protocol=protocol)
    refused(tmp_path / "a", tmp_path, "holds more than tensors")


def test_yaml_beside_is_not_run(tmp_path):
    folder = write(tmp_path / "a", linear("bias", **PLM))
    marker = tmp_path / "ran"
    (folder / "config.yaml").write_text(f"x: !!python/object/apply:os.system ['touch {marker}']\n")
    import_sae(folder, tmp_path / "sae")
    assert not marker.exists()
