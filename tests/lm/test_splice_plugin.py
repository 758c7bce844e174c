"""examples/cispliceai: networks of random weights against plain calls of torch, and the real ones on human DNA."""

import importlib
import math
import struct
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import shared
from safetensors.torch import save_file
from torch.nn import functional as F
from toy import random_dna, write_fasta

from sae_tracks.dna import reverse_complement
from sae_tracks.errors import SaeTracksError
from sae_tracks.genome import Genome
from sae_tracks.lm import describe, load_lm
from sae_tracks.lm.outputs import OffersOutputs, read_outputs
from sae_tracks.lm.untrained import OffersUntrained
from sae_tracks.reading import read
from sae_tracks.regions import GenomicRegion

EXAMPLE = Path(__file__).parents[2] / "examples" / "cispliceai"
KERNELS, DILATIONS = [11] * 8 + [21] * 4 + [41] * 4, [1] * 4 + [4] * 4 + [10] * 4 + [25] * 4
EPS = 0.001


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory):
    """The package as if it were installed: its source and its entry points on the path."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    folder = tmp_path_factory.mktemp("site")
    info = folder / "sae_tracks_cispliceai-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    points = project["entry-points"]["sae_tracks.models"].items()
    (info / "entry_points.txt").write_text("[sae_tracks.models]\n" + "".join(f"{k} = {v}\n" for k, v in points))
    with pytest.MonkeyPatch.context() as patch:
        for path in (folder, EXAMPLE / "src", EXAMPLE):
            patch.syspath_prepend(path)
        importlib.invalidate_caches()
        yield folder


def random_weights(groups=4, seed=0):
    """Weights under the names of the safetensors, small enough for activations to stay near 1."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    convs = {"in": (32, 4, 1), "head": (3, 32, 1)} | {f"sk{i}": (32, 32, 1) for i in range(groups + 1)}
    convs |= {f"{i}.c{j}": (32, 32, KERNELS[i]) for i in range(4 * groups) for j in (1, 2)}
    weights = {}
    for name, shape in convs.items():
        weights |= {f"{name}.w": draw(*shape) / math.sqrt(shape[1] * shape[2]), f"{name}.b": draw(shape[0]) / 5}
    for name in (f"{i}.bn{j}" for i in range(4 * groups) for j in (1, 2)):
        weights |= {f"{name}.g": 0.5 + draw(32).abs() / 5, f"{name}.b": draw(32) / 5}
        weights |= {f"{name}.m": draw(32) / 5, f"{name}.v": 0.5 + draw(32).abs()}
    return weights


def states(weights, sequence, eps=EPS, slope=0.0):
    """Trunk after each block, skip sum after each group, log probabilities: (n, k), with zeros around the sequence."""
    groups = sum(f"sk{i}.w" in weights for i in range(1, 5))
    reach = sum((KERNELS[i] - 1) * DILATIONS[i] for i in range(4 * groups))
    x = torch.zeros(1, 4, len(sequence) + 2 * reach, dtype=torch.float64)
    for i, letter in enumerate(sequence.decode()):
        if letter in "ACGT":
            x[0, "ACGT".index(letter), reach + i] = 1
    w = {name: tensor.double() for name, tensor in weights.items()}
    inside = lambda y: y[0, :, reach : y.shape[2] - reach].T  # noqa: E731
    trunk = F.conv1d(x, w["in.w"], w["in.b"])
    skip = F.conv1d(trunk, w["sk0.w"], w["sk0.b"])
    found = {"skip.0": inside(skip)}
    for i in range(4 * groups):
        y = trunk
        for j in "12":
            norm = (w[f"{i}.bn{j}.{part}"] for part in "mvgb")
            y = F.leaky_relu(F.batch_norm(y, *norm, eps=eps), slope)
            pad = KERNELS[i] // 2 * DILATIONS[i]
            y = F.conv1d(F.pad(y, (pad, pad)), w[f"{i}.c{j}.w"], w[f"{i}.c{j}.b"], dilation=DILATIONS[i])
        trunk = trunk + y
        found[f"trunk.{i + 1}"] = inside(trunk)
        if i % 4 == 3:
            skip = skip + F.conv1d(trunk, w[f"sk{i // 4 + 1}.w"], w[f"sk{i // 4 + 1}.b"])
            found[f"skip.{i // 4 + 1}"] = inside(skip)
    found["outputs"] = inside(F.conv1d(skip, w["head.w"], w["head.b"]).log_softmax(1))
    return found


@pytest.fixture(scope="module")
def weights():
    return random_weights()


@pytest.fixture(scope="module")
def file(tmp_path_factory, weights):
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(weights, path, {"bn_eps": str(EPS)})
    return path


SEQUENCE = (random_dna(900, 1) + "NNNRY" + random_dna(700, 2)).encode()


@pytest.fixture(scope="module")
def expected(weights):
    return states(weights, SEQUENCE)


@pytest.mark.parametrize(
    "where",
    [{"layer": 1}, {"layer": 8}, {"layer": 16}, *({"hook": f"skip.{i}"} for i in (0, 2, 4)), {"hook": "trunk.5"}],
)
def test_states_and_outputs_are_those_of_plain_calls(file, expected, where):
    lm = load_lm(f"cispliceai:{file}", device="cpu", **where)
    wanted = expected[lm.hook_name]
    found = lm.activations(SEQUENCE)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max() and found.dtype == torch.float32
    assert (read_outputs(lm, SEQUENCE) - expected["outputs"]).abs().max() <= 1e-5
    assert lm.hook_name == where.get("hook", f"trunk.{where.get('layer')}") and lm.layer == where.get("layer")
    assert not lm.causal and lm.d_model == 32 and lm.token_starts(b"ACG").all()


@pytest.mark.parametrize("where", [{"layer": 3}, {"layer": 16}, {"hook": "skip.1"}, {"hook": "skip.4"}])
def test_own_activations_change_no_output(file, where):
    lm = load_lm(f"cispliceai:{file}", device="cpu", **where)
    assert isinstance(lm, OffersOutputs)
    assert torch.allclose(lm.outputs(SEQUENCE), lm.outputs(SEQUENCE, lm.activations(SEQUENCE)), atol=1e-5)


def test_the_outputs_go_on_from_what_is_put_in(file, weights):
    other = torch.randn(len(SEQUENCE), 32)
    last = load_lm(f"cispliceai:{file}", hook="skip.4", device="cpu").outputs(SEQUENCE, other)
    assert torch.allclose(last, (other @ weights["head.w"][:, :, 0].T + weights["head.b"]).log_softmax(1), atol=1e-5)
    trunk = load_lm(f"cispliceai:{file}", 16, device="cpu")
    shift = torch.zeros(32)
    shift[3] = 7.0
    moved = trunk.outputs(SEQUENCE, trunk.activations(SEQUENCE) + shift)
    skip = load_lm(f"cispliceai:{file}", hook="skip.4", device="cpu").activations(SEQUENCE)
    logits = (skip + weights["sk4.w"][:, :, 0] @ shift) @ weights["head.w"][:, :, 0].T + weights["head.b"]
    assert torch.allclose(moved, logits.log_softmax(1), atol=1e-4)


@pytest.mark.parametrize("strand", "+-")
def test_windows_with_ten_thousand_bases_of_context_are_the_network_run_whole(file, tmp_path, strand):
    text = random_dna(24_000, 5)
    genome = Genome(write_fasta(tmp_path / "g.fa", c=text))
    lm = load_lm(f"cispliceai:{file}", 16, device="cpu")
    sequence = text.encode() if strand == "+" else reverse_complement(text.encode())
    whole = lm.activations(sequence)
    whole = whole if strand == "+" else whole.flip(0)
    parts = read(lm, genome, [GenomicRegion("c", 9_000, 15_000)], read_strand=strand, window=12_000, context=10_000)
    found = torch.cat([part.activations for part in parts])
    assert (found - whole[9_000:15_000]).abs().max() <= 1e-5 * whole.abs().max()


def test_copies_without_learning(file):
    lm = load_lm(f"cispliceai:{file}", 8, device="cpu")
    assert isinstance(lm, OffersUntrained)
    state = torch.random.get_rng_state()
    made = {(kind, seed): lm.untrained(kind, seed) for kind in ("random", "permuted") for seed in (0, 1)}
    assert torch.equal(state, torch.random.get_rng_state())
    assert len({one.checksum for one in made.values()} | {lm.checksum}) == 5
    again = lm.untrained("random", 1)
    assert again.checksum == made["random", 1].checksum and again.model_id == f"{lm.model_id} (random weights, seed 1)"
    sorted_values = [
        sorted(p.flatten().tolist()) for net in (lm.net, made["permuted", 0].net) for p in net.blocks[3].parameters()
    ]
    half = len(sorted_values) // 2
    assert sorted_values[:half] == sorted_values[half:]
    assert all(torch.isfinite(one.activations(SEQUENCE)).all() and one.hook_name == "trunk.8" for one in made.values())


def varint(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def field(number, content):
    """A field of a protobuf message: an integer, or bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def constant(name, array, as_list=False):
    """A GraphDef's node: a constant, whose numbers are raw bytes or a list."""
    array = np.asarray(array, "<f4")
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    numbers = array.tobytes()
    if as_list:
        content = b"".join(varint(5 << 3 | 5) + numbers[i : i + 4] for i in range(0, len(numbers), 4))
    else:
        content = field(4, numbers)
    tensor = field(1, 1) + field(2, shape) + content
    value = field(5, field(1, b"value") + field(2, field(8, tensor)))
    kind = field(5, field(1, b"dtype") + field(2, field(6, 1)))
    return field(1, field(1, name.encode()) + field(2, b"Const") + kind + value)


def graph(*networks):
    """A frozen graph as TensorFlow writes it: layers are numbered, and a later call of a layer has a suffix."""
    nodes = [field(1, field(1, b"x") + field(2, b"Placeholder"))]
    order = ["in", "sk0"]
    for group in range(4):
        order += [f"{i}.c{j}" for i in range(4 * group, 4 * group + 4) for j in (1, 2)] + [f"sk{group + 1}"]
    order.append("head")
    for n, weights in enumerate(networks):
        call = f"_{n}" if n else ""
        for i, name in enumerate(order, 1):
            of = f"model_1/conv1d_{i}"
            kernel = weights[f"{name}.w"].numpy().transpose(2, 1, 0)
            nodes.append(constant(f"{of}/conv1d{call}/ExpandDims_1/ReadVariableOp/resource", kernel))
            nodes.append(constant(f"{of}/BiasAdd{call}/ReadVariableOp/resource", weights[f"{name}.b"]))
        for i in range(32):
            of, name = f"model_1/batch_normalization_{i + 1}/batchnorm{call}", f"{i // 2}.bn{i % 2 + 1}"
            nodes.append(constant(f"{of}/add/y", EPS, as_list=True))
            for part, op in {"v": "", "m": "_1", "b": "_2"}.items():
                nodes.append(constant(f"{of}/ReadVariableOp{op}/resource", weights[f"{name}.{part}"]))
            nodes.append(constant(f"{of}/mul/ReadVariableOp/resource", weights[f"{name}.g"], as_list=True))
    return b"".join(nodes) + field(4, field(1, 561))


def install(folder, monkeypatch, content, version="1.2.2"):
    """Lay a distribution of the package cispliceai on the path, which has a graph and no code."""
    info = folder / f"cispliceai-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cispliceai\nVersion: {version}\n")
    (folder / "cispliceai" / "data").mkdir(parents=True)
    (folder / "cispliceai" / "data" / "CI-SpliceAI.pb").write_bytes(content)
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()


def test_a_network_is_read_from_the_graph_of_the_package(tmp_path, monkeypatch, weights, file):
    second = random_weights(seed=1)
    install(tmp_path, monkeypatch, graph(weights, second))
    first = load_lm("cispliceai:1", 16, device="cpu")
    assert first.checksum == load_lm(f"cispliceai:{file}", 16, device="cpu").checksum
    assert describe(first)["model"] == "cispliceai:1" and "cispliceai" not in sys.modules
    wanted = states(second, SEQUENCE)["outputs"]
    assert (read_outputs(load_lm("cispliceai:2", 1, device="cpu"), SEQUENCE) - wanted).abs().max() <= 1e-5
    with pytest.raises(SaeTracksError, match="has no network 3: it lacks model_1/conv1d_1/conv1d_2/"):
        load_lm("cispliceai:3", 1)


@pytest.mark.parametrize("cut", [1, 5, 1_000, 100_000, -1, -30, -40_000])
def test_a_graph_that_was_cut_is_one_line(tmp_path, monkeypatch, weights, cut):
    install(tmp_path, monkeypatch, graph(weights)[:cut])
    with pytest.raises(SaeTracksError, match=r"is no TensorFlow graph, or it is damaged|has no network 1") as error:
        load_lm("cispliceai:1", 1)
    assert "\n" not in str(error.value)


def test_a_tensor_of_another_size_than_its_shape_is_refused(tmp_path, monkeypatch):
    shape = field(2, field(1, 8))
    tensor = field(1, 1) + field(2, shape) + field(4, struct.pack("<7f", *range(7)))
    node = field(1, b"a") + field(2, b"Const") + field(5, field(1, b"value") + field(2, field(8, tensor)))
    install(tmp_path, monkeypatch, field(1, node))
    with pytest.raises(SaeTracksError, match="is no TensorFlow graph, or it is damaged"):
        load_lm("cispliceai:1", 1)


def test_the_package_must_be_there_in_its_version(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, b"", version="1.1.0")
    with pytest.raises(
        SaeTracksError, match=r"cispliceai 1.1.0 is installed; .* pip install --no-deps cispliceai==1.2.2"
    ):
        load_lm("cispliceai:1", 1)


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_openspliceai_is_read_without_running_its_pickle(tmp_path, groups):
    weights = random_weights(groups, seed=7)
    parts = {"in": "initial_conv", "sk0": "initial_skip.conv", "head": "final_conv"}
    for group in range(groups):
        parts[f"sk{group + 1}"] = f"residual_units.{5 * group + 4}.conv"
        for i in range(4):
            for j in "12":
                parts[f"{4 * group + i}.c{j}"] = f"residual_units.{5 * group + i}.conv{j}"
                parts[f"{4 * group + i}.bn{j}"] = f"residual_units.{5 * group + i}.batchnorm{j}"
    ends = {"w": "weight", "g": "weight", "b": "bias", "m": "running_mean", "v": "running_var"}
    state = {f"{parts[name[:-2]]}.{ends[name[-1]]}": tensor for name, tensor in weights.items()}
    state["residual_units.0.batchnorm1.num_batches_tracked"] = torch.tensor(5)
    torch.save(state, tmp_path / "open.pt")
    lm = load_lm(f"openspliceai:{tmp_path / 'open.pt'}", 4 * groups, device="cpu")
    wanted = states(weights, SEQUENCE, eps=1e-5, slope=0.1)
    assert (lm.activations(SEQUENCE) - wanted[f"trunk.{4 * groups}"]).abs().max() <= 1e-4
    assert (read_outputs(lm, SEQUENCE) - wanted["outputs"]).abs().max() <= 1e-5
    with pytest.raises(SaeTracksError, match=f"has no 'trunk.{4 * groups + 1}': layers are 1 to {4 * groups}, hooks"):
        load_lm(f"openspliceai:{tmp_path / 'open.pt'}", 4 * groups + 1, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"3.c1.w": torch.zeros(32, 32, 12)}, r"3.c1.w is \(32, 32, 12\), expected \(32, 32, 11\)"),
        ({"9.bn2.v": None}, r"9.bn2.v is missing, expected \(32,\)"),
        ({"more": torch.zeros(2)}, r"more is \(2,\), expected no such weight"),
        ({"sk2.b": torch.full((32,), math.nan)}, "the weights are damaged: sk2.b is not finite"),
    ],
)
def test_weights_of_another_network_are_one_line(tmp_path, weights, change, message):
    changed = {name: tensor for name, tensor in (weights | change).items() if tensor is not None}
    save_file(changed, tmp_path / "w.safetensors", {"bn_eps": "0.001"})
    with pytest.raises(SaeTracksError, match=message):
        load_lm(f"cispliceai:{tmp_path / 'w.safetensors'}", 1)


def test_what_cannot_be_opened_is_one_line(tmp_path, weights, file):
    save_file(weights, tmp_path / "plain.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"no")
    for argument, message in {
        str(tmp_path / "plain.safetensors"): "does not say bn_eps",
        str(tmp_path / "damaged.safetensors"): "cannot be read as safetensors",
        str(tmp_path / "missing.safetensors"): "cannot be read as safetensors",
        "6": "give a number from 1 to 5, or a file of safetensors",
        "": "give a number from 1 to 5",
    }.items():
        with pytest.raises(SaeTracksError, match=message):
            load_lm(f"cispliceai:{argument}", 1)
    with pytest.raises(SaeTracksError, match="has no revisions"):
        load_lm(f"cispliceai:{file}", 1, revision="main")


def test_sites_lie_between_the_exons_of_a_transcript(tmp_path):
    from sites import main, read_sites

    row = '{}\tx\t{}\t{}\t{}\t.\t{}\t.\tgene_id "g"; transcript_id "{}"; transcript_{}type "{}";\n'.format
    exons = {"a": ("+", "", [(11, 20), (31, 40), (51, 60)]), "b": ("-", "bio", [(31, 40), (5, 9)])}
    rows = [
        row("1", "exon", *exon, strand, name, bio, "protein_coding")
        for name, (strand, bio, all_) in exons.items()
        for exon in all_
    ]
    rows += [row("1", "exon", 100, 110, "+", "n", "", "lincRNA"), row("1", "exon", 200, 210, "+", "n", "", "lincRNA")]
    rows += [row("1", "CDS", 100, 110, "+", "a", "", "protein_coding"), "#!comment\n"]
    import gzip

    with gzip.open(tmp_path / "a.gtf.gz", "wt") as out:
        out.writelines(rows)
    plus = [("1", 19, "donor", "+"), ("1", 30, "acceptor", "+"), ("1", 39, "donor", "+"), ("1", 50, "acceptor", "+")]
    assert read_sites(tmp_path / "a.gtf.gz") == sorted([*plus, ("1", 8, "acceptor", "-"), ("1", 30, "donor", "-")])
    main(str(tmp_path / "a.gtf.gz"), str(tmp_path / "out.bed"), "chr")
    written = [line.split("\t") for line in (tmp_path / "out.bed").read_text().splitlines()]
    assert ["chr1", "8", "9", "acceptor", "0", "-"] in written
    spans = [row for row in written if row[3] in ("exon", "CDS")]
    assert len(written) - len(spans) == len(read_sites(tmp_path / "a.gtf.gz"))
    assert [(int(row[1]), int(row[2]), row[3], row[5]) for row in spans] == [
        (4, 9, "exon", "-"),
        (10, 20, "exon", "+"),
        (30, 40, "exon", "+"),
        (30, 40, "exon", "-"),
        (50, 60, "exon", "+"),
        (99, 110, "CDS", "+"),
    ]


def test_average_precision_is_a_walk_along_the_ranks():
    from auprc import average_precision

    rng = np.random.default_rng(0)
    for levels in (3, 1000):
        score, label = rng.integers(0, levels, 200) / levels, rng.random(200) < 0.2
        expected, found = 0.0, 0
        for level in sorted(set(score), reverse=True):
            above = score >= level
            hits = int(label[above].sum())
            expected += (hits - found) / label.sum() * hits / above.sum()
            found = hits
        assert average_precision(score, label) == pytest.approx(expected)


@pytest.mark.real
@pytest.mark.parametrize("number", [1, 2])
def test_the_real_networks_find_the_splice_sites_of_a_gene(number):
    """SAMD11 and its neighbours, both strands."""
    from auprc import average_precision, probabilities
    from sites import read_sites

    lm = load_lm(f"cispliceai:{shared(f'models/cispliceai/cispliceai{number}.safetensors')}", 1, device="cpu")
    genome, region = Genome(shared("data/hg38.chr1_0-1000000.fa.gz")), GenomicRegion("chr1", 920_000, 960_000)
    sites = read_sites(shared("data/gencode_human.chr1_0-1.5M.gtf.gz"))
    scores = np.concatenate([probabilities(lm, genome, region, strand) for strand in "+-"])
    for kind in ("acceptor", "donor"):
        label = np.zeros((2, len(region)), bool)
        for contig, at, site, strand in sites:
            if (contig, site) == ("chr1", kind) and region.start <= at < region.end:
                label["+-".index(strand), at - region.start] = True
        assert label.sum() >= 25
        assert average_precision(scores[:, lm.output_names.index(kind)], label.ravel()) > 0.75
