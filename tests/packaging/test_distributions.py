"""The wheel and the source archive: what they hold, and that one gives the other."""

import email
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IGNORED = re.compile(r"(^|/)(\.venv|__pycache__|\.pytest_cache|\.ruff_cache|\.hypothesis|\.git|build|dist)(/|$)|\.pyc$")
CACHES = shutil.ignore_patterns("__pycache__")
MOST_BYTES = 6_000_000  # of the wheel; two language models, a genome of 2 Mb and igv.js are 5 MB

pytest.importorskip("hatchling")


def build(project, target, folder):
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (made,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what a build reads, with the caches that a used checkout has."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in kept(path.name for path in ROOT.iterdir()) - {"demo", "real"}:
        source = ROOT / name
        shutil.copytree(source, copy / name, ignore=CACHES) if source.is_dir() else shutil.copy(source, copy / name)
    for made in ("src/sae_tracks/__pycache__/x.cpython-311.pyc", ".venv/bin/python", "demo/report/index.html"):
        (copy / made).parent.mkdir(parents=True, exist_ok=True)
        (copy / made).write_text("left by a run")
    return copy


@pytest.fixture(scope="module")
def sdist(checkout, tmp_path_factory):
    return build(checkout, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    return build(checkout, "wheel", tmp_path_factory.mktemp("wheel"))


def files_below(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def kept(names):
    return {name for name in names if not IGNORED.search(name)}


def test_the_wheel_has_the_package_its_data_and_the_licences_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"sae_tracks-{PROJECT['version']}.dist-info"
    package = {f"sae_tracks/{name}" for name in kept(files_below(ROOT / "src" / "sae_tracks"))}
    data = {f"sae_tracks/data/{name}" for name in kept(files_below(ROOT / "data"))}
    licences = {f"{info}/licenses/{name}" for name in PROJECT["license-files"]}
    assert names == package | data | licences | {
        f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt")
    }
    for wanted in ("report/assets/report.css", "report/assets/vendor/igv.min.js", "data/yeast-lm/model.safetensors"):
        assert f"sae_tracks/{wanted}" in names
    assert wheel.stat().st_size < MOST_BYTES


def test_the_wheel_is_for_every_machine_and_says_what_it_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = f"sae_tracks-{PROJECT['version']}.dist-info"
        said = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        assert archive.read(f"{info}/entry_points.txt").decode().split() == [
            "[console_scripts]",
            "sae-tracks",
            "=",
            "sae_tracks.cli:main",
        ]
    assert wheel.name == f"sae_tracks-{PROJECT['version']}-py3-none-any.whl"
    assert said["Version"] == PROJECT["version"]
    assert set(said["Requires-Python"].split(",")) == set(PROJECT["requires-python"].split(","))
    needed = [line for line in said.get_all("Requires-Dist") if "extra ==" not in line]
    assert len(needed) == len(PROJECT["dependencies"])
    minors = {int(found[1]) for line in PROJECT["classifiers"] if (found := re.search(r":: 3\.(\d+)$", line))}
    low, high = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups())
    assert minors == set(range(low, high))


def test_the_source_archive_has_the_repository_and_makes_the_same_wheel(checkout, sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    names = files_below(unpacked)
    assert names - {"PKG-INFO"} == kept(files_below(checkout)) - {"demo/report/index.html"}
    again = build(unpacked, "wheel", tmp_path / "wheel")
    first, second = (zipfile.ZipFile(path) for path in (wheel, again))
    assert {n: first.read(n) for n in first.namelist()} == {n: second.read(n) for n in second.namelist()}
