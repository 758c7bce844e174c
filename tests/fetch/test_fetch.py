"""Downloads, from a server on loopback that can break off, lie and fail."""

import gzip
import hashlib
import importlib
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pysam
import pytest
import requests
import torch
from command_line import run
from mirror import COMMIT, md5_lines, mirror, publish
from toy import random_dna

from sae_tracks.errors import SaeTracksError
from sae_tracks.fetch import cache, fetch_genome, fetch_matrices, fetch_sites
from sae_tracks.fetch import transfer as transfer_module
from sae_tracks.fetch.model import _complete
from sae_tracks.names import PINNED

CHR1, CHR2 = random_dna(400_000, seed=1), random_dna(7_001, seed=2)
FOLDER = "/goldenPath/toy1/chromosomes"
FILE = f"{FOLDER}/chr1.fa.gz"
MATRICES = "/download/data/2024/CORE/JASPAR2024_CORE_vertebrates_non-redundant_pfms_jaspar.txt"
SITES = "/downloads/UCSC_tracks/2022/toy1/MA1596.1.tsv.gz"
PFM = b">MA1596.1\tZNF460\nA [1 2]\nC [0 0]\nG [3 1]\nT [0 1]\n"


def gz(name, sequence):
    """A FASTA of one record as UCSC has it: gzip, 50 bases a line."""
    lines = "".join(f"{sequence[i : i + 50]}\n" for i in range(0, len(sequence), 50))
    return gzip.compress(f">{name}\n{lines}".encode(), mtime=0)


CHROMOSOMES = {"chr1.fa.gz": gz("chr1", CHR1), "chr2.fa.gz": gz("chr2", CHR2)}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror of everything with two chromosomes, an assembly of both, matrices and sites; the cache is empty."""
    files = {f"{FOLDER}/{name}": data for name, data in CHROMOSOMES.items()}
    files[f"{FOLDER}/md5sum.txt"] = md5_lines(CHROMOSOMES)
    whole = {"toy1.fa.gz": b"".join(CHROMOSOMES.values())}  # members of gzip may follow one another
    files["/goldenPath/toy1/bigZips/toy1.fa.gz"] = whole["toy1.fa.gz"]
    files["/goldenPath/toy1/bigZips/md5sum.txt"] = md5_lines(whole)
    files |= {MATRICES: PFM, SITES: gzip.compress(b"chr1\t5\t21\tZNF460\t900\t450\t-\n", mtime=0)}
    with mirror(files, tmp_path / "cache", monkeypatch) as state:
        state.cached = tmp_path / "cache/ucsc" / FILE[1:]
        yield state


def sequences(path):
    """Every sequence by name, through the index that is there."""
    with pysam.FastaFile(str(path), filepath_index=f"{path}.fai") as fasta:
        return {name: fasta.fetch(name) for name in fasta.references}


def provenance(path):
    return json.loads(Path(f"{path}.provenance.json").read_text())


def test_a_chromosome_comes_as_plain_fasta_with_its_index_and_origin(server, tmp_path):
    out = tmp_path / "chr1.fa"
    assert not fetch_genome("toy1", out, ["chr1"])
    assert sequences(out) == {"chr1": CHR1}
    assert out.read_bytes() == gzip.decompress(server.files[FILE])
    (source,) = provenance(out)["sources"]
    assert source["url"] == server.url + FILE
    assert source["sha256"] == hashlib.sha256(server.files[FILE]).hexdigest()
    assert source["checked"].startswith(f"MD5 {hashlib.md5(server.files[FILE]).hexdigest()} of {server.url}")
    assert provenance(out)["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert server.seen == [(f"{FOLDER}/md5sum.txt", None), (FILE, None)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "chr1.fa", "chr1.fa.fai", "chr1.fa.provenance.json"]


def test_chromosomes_in_the_order_asked_for_as_bgzip(server, tmp_path):
    out = tmp_path / "two.fa.gz"
    fetch_genome("toy1", out, ["chr2", "chr1"])
    assert list(sequences(out).items()) == [("chr2", CHR2), ("chr1", CHR1)]
    assert out.read_bytes()[12:14] == b"BC"  # bgzip's extra field
    assert Path(f"{out}.gzi").is_file()


def test_a_whole_assembly(server, tmp_path):
    out = tmp_path / "toy1.fa"
    fetch_genome("toy1", out)
    assert sequences(out) == {"chr1": CHR1, "chr2": CHR2}


def test_a_second_run_asks_the_server_nothing(server, tmp_path):
    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    server.seen.clear()
    before = (tmp_path / "a.fa").stat()
    assert fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    assert (tmp_path / "a.fa").stat().st_ino == before.st_ino
    assert not fetch_genome("toy1", tmp_path / "b.fa", ["chr1"])
    assert (tmp_path / "b.fa").read_bytes() == (tmp_path / "a.fa").read_bytes()
    assert server.seen == []


def test_a_transfer_that_breaks_off_goes_on_where_it_was(server, tmp_path):
    server.cut[FILE] = [100_000]
    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    assert sequences(tmp_path / "a.fa") == {"chr1": CHR1}
    first, second = [ranges for path, ranges in server.seen if path == FILE]
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 100_000


def test_what_a_broken_run_has_is_kept_for_the_next(server, tmp_path):
    server.cut[FILE] = [100_000, *[0] * 10]
    with pytest.raises(SaeTracksError, match=r"broke off 5 times .*bytes are kept and the same command goes on"):
        fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    assert not (tmp_path / "a.fa").exists()
    assert not server.cached.exists()
    server.cut.clear()
    server.seen.clear()
    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    assert sequences(tmp_path / "a.fa") == {"chr1": CHR1}
    assert [ranges is not None for path, ranges in server.seen if path == FILE] == [True]
    names = {"chr1.fa.gz", "chr1.fa.gz.json", "chr1.fa.gz.lock"}
    assert {p.name for p in server.cached.parent.iterdir()} == names


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.cut[FILE], server.ranges = [100_000], False
    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    assert sequences(tmp_path / "a.fa") == {"chr1": CHR1}


def test_the_rest_of_another_version_is_not_added(server, tmp_path):
    server.files[MATRICES] = PFM + b"#" * 200_000
    server.cut[MATRICES] = [100_000, *[0] * 10]
    with pytest.raises(SaeTracksError, match="broke off"):
        fetch_matrices("2024", tmp_path / "m.pfm")
    server.cut.clear()
    server.files[MATRICES] = new = PFM + b"+" * 200_000
    fetch_matrices("2024", tmp_path / "m.pfm")
    assert (tmp_path / "m.pfm").read_bytes() == new


@pytest.mark.parametrize("shorter", [False, True])
def test_a_part_that_is_whole_or_longer_than_the_file(server, tmp_path, shorter):
    data = server.files[FILE] + b"x" * shorter
    part = server.cached.with_name("chr1.fa.gz.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(data)
    etag = f'"{hashlib.sha256(server.files[FILE]).hexdigest()}"'
    Path(f"{part}.json").write_text(json.dumps({"url": server.url + FILE, "version": etag}))
    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    assert sequences(tmp_path / "a.fa") == {"chr1": CHR1}


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.busy[FILE] = True
    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    assert sequences(tmp_path / "a.fa") == {"chr1": CHR1}


def test_a_file_of_another_checksum_is_refused_and_leaves_nothing(server, tmp_path):
    right = server.files[FILE]
    server.files[FILE] = right[:-1] + bytes([right[-1] ^ 1])
    with pytest.raises(
        SaeTracksError, match=f"chr1.fa.gz came damaged: its MD5 is not {hashlib.md5(right).hexdigest()}"
    ):
        fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["chr1.fa.gz.lock"]
    server.files[FILE] = right
    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])


def test_damaged_gzip_of_the_right_checksum_writes_no_genome(server, tmp_path):
    del server.files[f"{FOLDER}/md5sum.txt"]
    server.files[FILE] = server.files[FILE][:1000]
    with pytest.raises(SaeTracksError, match=r"chr1.fa.gz is damaged gzip"):
        fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def test_what_is_not_there_is_named_with_what_is(server, tmp_path):
    with pytest.raises(SaeTracksError, match=r"chromosomes/1.fa.gz is not there \(404\); that folder has chr1.fa.gz"):
        fetch_genome("toy1", tmp_path / "a.fa", ["1"])
    with pytest.raises(SaeTracksError, match=r"toy9.fa.gz is not there \(404\); .* lists the assemblies"):
        fetch_genome("toy9", tmp_path / "a.fa")
    with pytest.raises(SaeTracksError, match=r"MA1.1.tsv.gz is not there \(404\); is the matrix ID"):
        fetch_sites("toy1", "MA1.1", "2022", tmp_path / "a.tsv")
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("name", ["../toy1", "a/b", "", ".."])
def test_a_name_is_no_path(server, tmp_path, name):
    with pytest.raises(SaeTracksError, match=f"assembly {name!r}: a name has letters, digits"):
        fetch_genome(name, tmp_path / "a.fa")
    assert server.seen == []


def test_offline_uses_the_cache_or_says_what_is_missing(server, tmp_path):
    with pytest.raises(SaeTracksError, match=r"chr1.fa.gz is not there: run without --offline, or put http"):
        fetch_genome("toy1", tmp_path / "a.fa", ["chr1"], offline=True)
    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    server.seen.clear()
    fetch_genome("toy1", tmp_path / "b.fa", ["chr1"], offline=True)
    assert sequences(tmp_path / "b.fa") == {"chr1": CHR1}
    assert server.seen == []


def test_a_file_put_into_the_cache_by_hand_is_taken_offline_and_checked_online(server, tmp_path):
    server.cached.parent.mkdir(parents=True)
    server.cached.write_bytes(server.files[FILE])
    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"], offline=True)
    assert sequences(tmp_path / "a.fa") == {"chr1": CHR1}
    assert "trusted" in provenance(tmp_path / "a.fa")["sources"][0]["checked"]
    Path(f"{server.cached}.json").unlink()
    server.cached.write_bytes(gz("chr1", CHR2))
    fetch_genome("toy1", tmp_path / "b.fa", ["chr1"])
    assert sequences(tmp_path / "b.fa") == {"chr1": CHR1}


@pytest.mark.parametrize(("text", "head"), [(b"<html>log in</html>", b"<"), (b"", b"")])
@pytest.mark.parametrize("name", ["a.fa", "a.fa.gz"])
def test_gzip_of_something_else_put_there_by_hand_writes_no_genome(server, tmp_path, name, text, head):
    server.cached.parent.mkdir(parents=True)
    server.cached.write_bytes(gzip.compress(text))
    with pytest.raises(SaeTracksError, match=f"chr1.fa.gz: its text begins with {head!r}, not with b'>': remove it"):
        fetch_genome("toy1", tmp_path / name, ["chr1"], offline=True)
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def test_without_a_server_there_is_one_line_with_what_to_do(server, tmp_path):
    words = ["fetch", "genome", "toy1", "-r", "chr1", "-o", tmp_path / "a.fa"]
    out = run(*words, env={**os.environ, "SAE_TRACKS_UCSC": "http://127.0.0.1:9"})
    assert out.returncode == 1
    (line,) = out.stderr.strip().splitlines()
    assert line.startswith("error: cannot reach 127.0.0.1:9 (Connection refused) for http://127.0.0.1:9/goldenPath/")
    assert line.endswith(f"download it elsewhere, put it at {server.cached}, and run with --offline")


def test_a_host_whose_name_is_unknown_is_named(tmp_path, monkeypatch):
    def unknown(*args, **how):
        raise requests.ConnectionError("HTTPSConnectionPool: Failed to resolve 'nowhere.invalid'")

    monkeypatch.setenv("SAE_TRACKS_JASPAR", "https://nowhere.invalid/")
    monkeypatch.setattr(requests, "get", unknown)
    with pytest.raises(SaeTracksError, match=r"cannot reach nowhere.invalid \(.*resolve.*\) for https://nowhere.inva"):
        fetch_matrices("2024", tmp_path / "m.pfm", cache=tmp_path)


def test_the_command_line_says_what_it_did(server, tmp_path):
    words = ["fetch", "jaspar-sites", "toy1", "--matrix", "MA1596.1", "-o", "MA1596.1.tsv.gz"]
    said = [run(*words, cwd=tmp_path).stderr for _ in range(2)]
    assert said == ["MA1596.1.tsv.gz is written\n", "MA1596.1.tsv.gz is already there with the right content\n"]
    assert (tmp_path / "MA1596.1.tsv.gz").read_bytes() == server.files[SITES]


def test_sites_are_read_as_annotation_plain_or_gzip(server, tmp_path):
    from sae_tracks.annotations import read_annotation
    from sae_tracks.genome import Genome

    fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])
    for name in ("MA1596.1.tsv", "MA1596.1.tsv.gz"):
        fetch_sites("toy1", "MA1596.1", "2022", tmp_path / name)
        (site,) = read_annotation(tmp_path / name, Genome(tmp_path / "a.fa")).sites.itertuples(index=False)
        assert list(site) == ["chr1", 5, 21, "MA1596.1", 450.0, "-", "ZNF460"]
    assert (tmp_path / "MA1596.1.tsv").read_bytes() == gzip.decompress(server.files[SITES])


def test_without_a_stated_checksum_the_first_download_is_what_later_ones_are_held_to(server, tmp_path, caplog):
    fetch_matrices("2024", tmp_path / "a.pfm")
    assert (tmp_path / "a.pfm").read_bytes() == PFM
    assert "first download is trusted" in provenance(tmp_path / "a.pfm")["sources"][0]["checked"]
    cached = tmp_path / "cache/jaspar" / MATRICES[1:]
    cached.write_bytes(PFM.replace(b"3", b"4"))
    fetch_matrices("2024", tmp_path / "b.pfm")
    assert (tmp_path / "b.pfm").read_bytes() == PFM
    assert f"{cached} is damaged and is removed from the cache" in caplog.text
    assert [path for path, _ in server.seen] == [MATRICES, MATRICES]


def test_a_damaged_file_is_looked_at_by_many_and_removed_under_the_lock(server, tmp_path, monkeypatch):
    """Another process finds the damage too, and has mended it before this one has the lock."""
    fetch_matrices("2024", tmp_path / "a.pfm")
    cached = tmp_path / "cache/jaspar" / MATRICES[1:]
    cached.write_bytes(b">other\n")
    locked = cache.locked

    def mended(path):
        cached.write_bytes(PFM)
        return locked(path)

    monkeypatch.setattr(cache, "locked", mended)
    fetch_matrices("2024", tmp_path / "b.pfm")
    assert (tmp_path / "b.pfm").read_bytes() == PFM
    assert [path for path, _ in server.seen] == [MATRICES]


def test_offline_a_damaged_file_is_removed_and_named(server, tmp_path):
    fetch_matrices("2024", tmp_path / "a.pfm")
    cached = tmp_path / "cache/jaspar" / MATRICES[1:]
    cached.write_bytes(b">other\n")
    with pytest.raises(SaeTracksError, match=r"is not there: run without --offline"):
        fetch_matrices("2024", tmp_path / "b.pfm", offline=True)
    assert not cached.exists() and [path for path, _ in server.seen] == [MATRICES]


def test_an_error_page_with_status_200_is_refused(server, tmp_path):
    server.files[MATRICES] = b"<html>log in to this network</html>"
    with pytest.raises(SaeTracksError, match=r"begins with b'<', not with b'>': an error page"):
        fetch_matrices("2024", tmp_path / "a.pfm")
    server.files[MATRICES] = PFM
    fetch_matrices("2024", tmp_path / "a.pfm")
    assert (tmp_path / "a.pfm").read_bytes() == PFM


def test_an_output_of_the_same_content_is_kept_and_of_another_only_replaced_by_force(server, tmp_path):
    out = tmp_path / "a.fa"
    out.write_bytes(gzip.decompress(server.files[FILE]))
    before = out.stat()
    assert fetch_genome("toy1", out, ["chr1"])
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert provenance(out)["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert not list(tmp_path.glob(".*"))
    assert sequences(out) == {"chr1": CHR1}
    with pytest.raises(SaeTracksError, match=r"a.fa is there with other content; --force replaces it"):
        fetch_genome("toy1", out, ["chr2"])
    assert sequences(out) == {"chr1": CHR1}
    assert not fetch_genome("toy1", out, ["chr2"], force=True)
    assert sequences(out) == {"chr2": CHR2}


def test_an_output_edited_since_is_not_taken_for_the_right_one(server, tmp_path):
    out = tmp_path / "a.pfm"
    fetch_matrices("2024", out)
    out.write_bytes(PFM + b"\n")
    with pytest.raises(SaeTracksError, match="other content"):
        fetch_matrices("2024", out)


def test_the_ending_says_the_format(server, tmp_path):
    with pytest.raises(SaeTracksError, match=r"a.2bit: the ending says the format: .fa for plain"):
        fetch_genome("toy1", tmp_path / "a.2bit", ["chr1"])
    with pytest.raises(SaeTracksError, match="named twice"):
        fetch_genome("toy1", tmp_path / "a.fa", ["chr1", "chr1"])
    assert server.seen == []


def test_a_full_disk_is_found_before_the_transfer(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(SaeTracksError, match=r"has 0.0 GB free; 0.0 GB are needed: name another cache"):
        fetch_genome("toy1", tmp_path / "a.fa", ["chr1"])


def test_several_at_once_download_once(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: fetch_genome("toy1", tmp_path / f"{i}.fa", ["chr1"]), range(4)))
    assert [path for path, _ in server.seen].count(FILE) == 1
    assert all(sequences(tmp_path / f"{i}.fa") == {"chr1": CHR1} for i in range(4))


@pytest.fixture
def client(server, tmp_path):
    """The hub's client asks the server, and has a cache of its own; it reads these variables when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        variables = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf")}
        for name, value in {**variables, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}.items():
            patch.setenv(name, value)
        importlib.reload(huggingface_hub.constants)
        yield
    importlib.reload(huggingface_hub.constants)


@pytest.fixture
def hub(server, client, tmp_path):
    """The server also speaks the hub's protocol for me/lm, a language model with pickles and code beside it."""
    from sae_tracks.lm import HyenaDNAConfig, HyenaDNAForCausalLM
    from sae_tracks.pretrain.pretrain import save_model

    torch.manual_seed(0)
    save_model(HyenaDNAForCausalLM(HyenaDNAConfig(d_model=16, n_layer=3, max_seq_len=66)), tmp_path / "lm")
    files = {path.name: path.read_bytes() for path in (tmp_path / "lm").iterdir()}
    server.wanted = {*files, "tokenizer_config.json"}
    assert {"config.json", "model.safetensors"} <= server.wanted
    files["tokenizer_config.json"] = b"{}"
    for name in ("pytorch_model.bin", "weights.pt", "weights.ckpt", "modeling_hyena.py", "old/model.safetensors"):
        files[name] = b"harm"
    publish(server, "me/lm", files)
    publish(server, "me/pickle", {"config.json": b"{}", "pytorch_model.bin": b"harm"})
    return server


def fetch_model(*words):
    """``sae-tracks fetch model`` in this process."""
    return run("fetch", "model", *words)


def test_a_model_comes_without_pickles_and_code_and_is_then_read_offline(hub, warm_python, tmp_path):
    out = fetch_model("me/lm")
    assert out.returncode == 0, out.stderr
    assert f"commit {COMMIT}; to use it: sae-tracks extract me/lm@{COMMIT} GENOME -o act/" in out.stderr
    folder = Path(out.stdout.strip())
    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == hub.wanted
    taken = {path.rpartition("/")[2] for path, _ in hub.seen if "/resolve/" in path}
    assert taken == hub.wanted

    code = f"from sae_tracks import load_lm; print(load_lm('me/lm@{COMMIT}', layer=2, device='cpu').revision)"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    loaded = subprocess.run([warm_python, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert loaded.stdout.strip() == COMMIT, loaded.stderr
    hub.seen.clear()
    again = fetch_model("me/lm", "--offline")
    assert again.stdout == out.stdout
    assert hub.seen == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["me/none"], "error: the hub has no model me/none, or it is private"),
        (
            ["me/pickle"],
            "error: me/pickle@main has no config.json with whole safetensors; a pickle (.bin, .pt) is never",
        ),
        (["me/lm@v9"], "error: me/lm has no revision v9"),
        (["a/b/c"], "error: 'a/b/c' is not a hub id: OWNER/NAME or OWNER/NAME@REVISION"),
        (["me/lm", "--offline"], "error: me/lm@main is not, or not whole, in the hub's cache"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(hub, tmp_path, words, message):
    out = fetch_model(*words)
    assert out.returncode == 1
    assert out.stderr.startswith(message)
    assert out.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("there", "whole"),
    [
        (["config.json", "model.safetensors"], True),
        (["model.safetensors"], False),
        (["config.json", "model-1.safetensors"], False),
        (["config.json", "model-1.safetensors", "model.safetensors.index.json"], False),
        (["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"], True),
    ],
)
def test_a_folder_is_whole_with_every_file_of_its_index(tmp_path, there, whole):
    for name in there:
        (tmp_path / name).write_text('{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}')
    assert _complete(tmp_path) is whole


@pytest.mark.parametrize("lost", ["model-00002-of-00002.safetensors", "model.safetensors.index.json"])
def test_a_model_of_which_a_part_is_not_there_is_not_whole(hub, tmp_path, lost):
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.dumps({"weight_map": dict(zip("ab", shards))}).encode()
    files = {"config.json": b"{}", **dict.fromkeys(shards, b"w"), "model.safetensors.index.json": index}
    publish(hub, "me/parts", files)
    whole = fetch_model("me/parts")
    assert whole.returncode == 0, whole.stderr
    (Path(whole.stdout.strip()) / lost).unlink()
    out = fetch_model("me/parts", "--offline")
    assert out.stderr.startswith("error: me/parts@main is not, or not whole, in the hub's cache")
    again = fetch_model("me/parts")
    assert again.stdout == whole.stdout
    assert {path.name for path in Path(again.stdout.strip()).iterdir()} == {*files}


def test_a_known_model_is_pinned_and_another_revision_can_be_asked_for(hub, tmp_path):
    ((name, commit),) = PINNED.items()
    files = {"config.json": b"{}", "model.safetensors": b""}
    publish(hub, name, files)
    publish(hub, name, files, commit, commit)
    for model, expected in ((name, commit), (f"{name}@main", COMMIT)):
        out = fetch_model(model)
        assert Path(out.stdout.strip()).name == expected, out.stderr
        assert f"{name}@{expected} GENOME" in out.stderr
