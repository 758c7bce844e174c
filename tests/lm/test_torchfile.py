"""A checkpoint is read, never run, whatever it holds; a damaged one is refused."""

import collections
import contextlib
import io
import pickle
import pickletools
import sys
import types
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_files import assert_same, lightning_state, refused, rewrite, save, view
from payloads import NAMES, payloads

from sae_tracks.errors import SaeTracksError
from sae_tracks.lm.lightning import load_lightning
from sae_tracks.lm.torchfile import Note, read_pickle


def test_other_files_are_refused(tmp_path):
    refused(tmp_path / "none.ckpt", "no file")
    (tmp_path / "a.ckpt").write_text("version https://git-lfs.github.com/spec/v1")
    refused(tmp_path / "a.ckpt", "no zip archive")
    torch.save({"state_dict": lightning_state()}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "old.ckpt", "no zip archive, as torch writes since 1.6")
    torch.save(lightning_state(), tmp_path / "bare.ckpt")
    refused(tmp_path / "bare.ckpt", "no 'state_dict'")
    torch.save([1], tmp_path / "list.ckpt")
    refused(tmp_path / "list.ckpt", "no 'state_dict'")
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(tmp_path / "zip.ckpt", "holds 0 data.pkl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, record: record[:-4] if name == "data/3" else record, "claims .* numbers, but .* bytes"),
        (lambda name, record: record + b"0000" if name == "data/3" else record, "claims .* numbers, but .* bytes"),
        (lambda name, record: None if name == "data/3" else record, "damaged.*data/3"),
        (lambda name, record: record[: len(record) // 2] if name == "data.pkl" else record, "damaged"),
        (lambda name, record: b"big" if name == "byteorder" else record, "byte order"),
    ],
)
def test_records_that_do_not_fit_the_program_are_refused(tmp_path, change, message):
    refused(rewrite(save(tmp_path / "a.ckpt"), tmp_path / "b.ckpt", change), message)


def test_a_compressed_record_is_refused_before_it_unfolds(tmp_path):
    source = save(tmp_path / "a.ckpt")
    refused(rewrite(source, tmp_path / "b.ckpt", lambda n, r: r, zipfile.ZIP_DEFLATED), "is compressed")


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((7,), (1,), 0),
        ((6,), (1,), 1),
        ((2, 4), (3, 1), 0),
        ((1 << 40, 6), (0, 1), 0),  # 6 numbers said to be 6.6e12
        ((6,), (1,), -1),
        ((2,), (-1,), 5),
        ((6,), (1, 1), 0),
        ((0, 6), (6, 1), 0),
        ((1,), (1 << 70,), 0),
        ((6.0,), (1,), 0),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, size, stride, offset):
    state = lightning_state() | {"model.backbone.ln_f.bias": view(size, stride, offset)}
    refused(save(tmp_path / "a.ckpt", state_dict=state), "ln_f.bias reaches outside the 6 numbers")


def test_a_tensor_inside_its_storage_is_what_torch_makes_of_it(tmp_path):
    state = lightning_state() | {"model.backbone.ln_f.bias": view((6,), (1,))}
    bias = load_lightning(save(tmp_path / "a.ckpt", state_dict=state)).hyena.backbone.ln_f.bias
    assert bias.tolist() == [0, 1, 2, 3, 4, 5]


# Files that would run code.


@pytest.fixture
def foreign(tmp_path):
    """Instances of classes of a module that exists while the file is written, and then only as a trap."""
    module = types.ModuleType("foreign_config")
    exec(
        "class Config(dict):\n    pass\nclass Stateful:\n    def __setstate__(self, s): raise SystemExit",
        module.__dict__,
    )
    for kind in (module.Config, module.Stateful):
        kind.__module__ = "foreign_config"
    sys.modules["foreign_config"] = module
    stateful = module.Stateful()
    stateful.values = [1, {2, 3}]
    yield {"config": module.Config(a=1), "stateful": stateful, "types": {module.Config: torch.float32}}
    sys.modules.pop("foreign_config", None)


def test_foreign_objects_are_neither_imported_nor_made(tmp_path, foreign, monkeypatch):
    source = save(tmp_path / "a.ckpt", hyper_parameters=foreign, callbacks={"x": collections.Counter("aab")})
    del sys.modules["foreign_config"]
    (tmp_path / "foreign_config.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(source, weights_only=True)
    with pytest.raises(SystemExit):
        torch.load(source, weights_only=False)
    load_lightning(source)
    before = set(sys.modules)
    assert_same(load_lightning(source))
    assert set(sys.modules) == before


def hide(place, payload):
    """A checkpoint's content with a payload at one place of it."""
    state = lightning_state()
    if place == "beside":
        return {"state_dict": state, "callbacks": payload}
    if place == "key beside":
        return {payload: 1, "state_dict": state}
    if place == "key":
        return {"state_dict": state | {payload: torch.ones(1)}}
    if place == "unknown value":
        return {"state_dict": state | {"extra": payload}}
    if place == "value":
        return {"state_dict": state | {"model.lm_head.weight": payload}}
    if place == "state_dict":
        return {"state_dict": payload}
    if place == "top":
        return payload
    hooks = view((6,), (1,))
    hooks.call = hooks.call[0], (*hooks.call[1][:-1], payload)
    return {"state_dict": state | {"model.backbone.ln_f.bias": hooks}}


PLACES = {
    "beside": None,
    "key beside": None,
    "key": None,
    "inside a tensor": None,
    "unknown value": "extra is not a tensor",
    "value": "lm_head.weight is not a tensor",
    "state_dict": "no weight|no 'state_dict'",
    "top": "no 'state_dict'",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_code_in_a_file_never_runs(tmp_path, name, place):
    marker = tmp_path / "ran"
    path = tmp_path / "a.ckpt"
    torch.save(hide(place, payloads(marker)[name]), path)
    marker.unlink(missing_ok=True)

    before = set(sys.modules)
    if PLACES[place] is None:
        load_lightning(path)
    else:
        refused(path, PLACES[place])
    assert not marker.exists()
    assert set(sys.modules) == before


@pytest.mark.parametrize("name", NAMES)
def test_the_payloads_do_run_where_pickle_is_trusted(tmp_path, name):
    marker = tmp_path / "ran"
    torch.save(hide("beside", payloads(marker)[name]), tmp_path / "a.ckpt")
    assert not marker.exists()
    torch.load(tmp_path / "a.ckpt", weights_only=False)
    assert marker.exists()


# The reader of pickles.


def plain(value):
    """A value read back, its dicts as dicts, where it holds nothing else that would have to be made."""
    if isinstance(value, Note):
        assert value.made_by == "EMPTY_DICT"
        return {key: plain(item) for key, item in value.items.items()}
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5).map(tuple) | st.dictionaries(st.text(), inner, max_size=5),
)


@given(values, st.integers(3, 5))  # in 2, bytes are a call
def test_plain_values_read_as_pickle_reads_them(value, protocol):
    assert plain(read_pickle(pickle.dumps(value, protocol))) == value


def test_what_is_shared_is_read_once_and_circles_end():
    circle = {}
    circle["self"] = circle
    read = read_pickle(pickle.dumps(circle))
    assert read.items["self"] is read


def test_depth_is_no_matter():
    read = read_pickle(b"\x80\x02)" + b"\x85" * 300_000 + b".")
    for _ in range(300_000):
        (read,) = read
    assert read == ()


opcodes = st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes])
pushes = st.sampled_from([b"(", b")", b"}", b"N", b"K\x07", b"X\1\0\0\0a", b"cos\nsystem\n", b"q\0", b"h\0"])


@settings(max_examples=500)
@given(st.lists(pushes | opcodes | st.binary(max_size=3), max_size=60).map(b"".join))
def test_any_bytes_read_or_raise_what_is_caught(program):
    with contextlib.suppress(ValueError, LookupError, OverflowError):
        read_pickle(b")" * 3 + program + b".")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return folder, save(folder / "a.ckpt", extra={"config": collections.Counter("ab")}).read_bytes()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_loads_to_the_same_model_or_is_refused(written, data):
    folder, content = written
    damaged = bytearray(content)
    if data.draw(st.booleans(), "truncate"):
        del damaged[data.draw(st.integers(0, len(content) - 1), "length") :]
    for position in data.draw(st.lists(st.integers(0, max(len(damaged) - 1, 0)), max_size=4), "flipped"):
        if damaged:
            damaged[position] ^= 1 << data.draw(st.integers(0, 7), "bit")
    path = folder / "damaged.ckpt"
    path.write_bytes(damaged)
    try:
        model = load_lightning(path)
    except SaeTracksError:
        return
    assert_same(model)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_program_with_a_right_checksum_loads_or_is_refused(written, data):
    folder, content = written
    source, target = io.BytesIO(content), folder / "changed.ckpt"
    with zipfile.ZipFile(source) as archive:
        program = bytearray(archive.read("a/data.pkl"))
    for position in data.draw(st.lists(st.integers(0, len(program) - 1), min_size=1, max_size=3), "changed"):
        program[position] = data.draw(st.integers(0, 255), "byte")
    rewrite(source, target, lambda name, record: bytes(program) if name == "data.pkl" else record)
    with contextlib.suppress(SaeTracksError):
        load_lightning(target)
