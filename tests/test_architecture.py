"""The floors of the package: imports go down, never up, and torch stays out of the rooms that do not compute."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sae_tracks
from sae_tracks.cli.app import app

ROOT = Path(sae_tracks.__file__).parent
FLOORS = [
    {"errors", "names", "regions", "files", "bounded", "json_file", "records", "progress", "threads", "jit"}
    | {"arrays", "intervals", "genome_line", "bootstrap", "dna", "bbi"},
    {"genome", "lm", "sae"},
    {"annotations", "motifs", "reading"},
    {"features", "source", "activations", "train", "pretrain"},
    {"tracks", "metrics", "controls", "signals", "evaluate"},
    {"insight", "interp", "region_sets"},
    {"browsers", "report", "fetch", "demo", "sharing"},
    {"cli", "__main__"},
]
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
NO_TORCH = {
    *(
        "errors",
        "names",
        "regions",
        "genome_line",
        "files",
        "bounded",
        "json_file",
        "progress",
        "jit",
        "intervals",
        "dna",
        "genome",
        "annotations",
        "motifs",
    ),
    *("tracks", "metrics", "browsers", "report", "fetch"),
}
HEAVY = {
    *("torch", "transformers", "pandas", "numpy", "scipy", "pyranges", "matplotlib", "pysam", "pyarrow", "numba"),
    *("huggingface_hub", "safetensors", "requests", "pooch", "logomaker", "pyBigWig"),
}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path):
    """(module, at top level) of every import in a file."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, id(node) in top


FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    for module, _ in imports(path):
        if module.startswith("sae_tracks."):
            assert FLOOR[module.split(".")[1]] <= FLOOR[room(path)], f"{path.name} imports {module}"


def test_rooms_of_one_floor_do_not_import_each_other_in_a_circle():
    arrows = {
        (room(path), module.split(".")[1])
        for path in FILES
        for module, _ in imports(path)
        if module.startswith("sae_tracks.") and module.split(".")[1] != room(path)
    }
    while leaves := {a for a, _ in arrows} - {b for _, b in arrows}:
        arrows = {(a, b) for a, b in arrows if a not in leaves}
    assert not arrows


def test_bigwig_bigbed_and_2bit_need_nothing_but_the_ground_floor():
    files = [path for path in FILES if path.is_relative_to(ROOT / "tracks" / "bbi")]
    ours = {module for path in files for module, _ in imports(path) if module.startswith("sae_tracks.")}
    assert len(files) > 3
    assert not [m for m in ours if m.split(".")[1] not in FLOORS[0] and not m.startswith("sae_tracks.tracks.bbi.")]
    assert not [p.name for p in files if re.search(r"(?i)\bSAE\b|autoencoder|feature", p.read_text())]


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in NO_TORCH], ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_that_do_not_compute_do_not_import_torch(path):
    assert not [module for module, _ in imports(path) if module.split(".")[0] == "torch"]


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "cli"], ids=lambda p: p.name)
def test_verbs_import_nothing_heavy_at_top_level(path):
    assert not [module for module, top in imports(path) if top and module.split(".")[0] in HEAVY]


LIGHT = ("browsers.hub", "browsers.igv", "browsers.pygenometracks", "report", "fetch", "annotations", "motifs")
VERBS = sorted({command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands})


@pytest.mark.parametrize("name", [*LIGHT, "tracks.bbi.bigbed", "tracks.bbi.twobit", "metrics"])
def test_importing_a_room_that_does_not_compute_loads_no_torch(name):
    code = f"import sys, sae_tracks.{name}; print(sorted({{'torch', 'transformers'}} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_training_scoring_and_publishing_load_no_transformers_before_a_language_model_is_opened():
    """It takes seconds to import, and training on shards, for one, needs no language model."""
    code = "import sys\nfrom sae_tracks import train_sae, shuffle, merge_scores, load_sae, publish, Source\n"
    code += "print('transformers' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"


def test_the_names_of_language_models_are_there():
    import sae_tracks.lm

    assert {"load_lm", "GeneLM"} < set(dir(sae_tracks.lm))
    assert all(getattr(sae_tracks.lm, name).__module__.startswith("sae_tracks.lm.") for name in dir(sae_tracks.lm))


def test_help_loads_no_heavy_library():
    code = (
        "import sys\n"
        "from sae_tracks.cli import main\n"
        "sys.argv = ['sae-tracks', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stderr == "[]\n"


def test_help_of_a_verb_loads_no_heavy_library():
    code = (
        "import os, sys\n"
        "import rich.markdown, typer.rich_utils\n"  # what draws the help, once for all
        "from sae_tracks.cli import main\n"
        f"for verb in {VERBS!r}:\n"
        "    if not (child := os.fork()):\n"  # each verb in a process that has loaded no other
        "        sys.argv, sys.stdout, status = ['sae-tracks', verb, '--help'], open(os.devnull, 'w'), None\n"
        "        try: main()\n"
        "        except SystemExit as end: status = end.code\n"
        "        loaded = {'torch', 'transformers', 'pandas', 'numba'} & sys.modules.keys()\n"
        "        if status or loaded: print(verb, status, loaded, file=sys.stderr)\n"
        "        os._exit(0)\n"
        "    assert not os.waitpid(child, 0)[1]\n"
        "    print(verb)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stderr == ""
    assert out.stdout.split() == list(VERBS)


def test_every_file_is_one_idea():
    assert not [p.name for p in FILES if len(p.read_text().splitlines()) > 500]
