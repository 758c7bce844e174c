"""Every command and every program in the documentation runs, page by page, on small stand-ins for the files it names.

A page runs as it stands but for the differences in the tables below. A new command is run unless a table says why not,
and an entry that no page needs any more is an error.
"""

import importlib.util
import re
import shutil
import warnings
from pathlib import Path

import pytest
from page_inputs import page_inputs, shell

ROOT = Path(__file__).parents[2]
WRITTEN = ("cli.md", "api.md")  # by programs, from docstrings
TESTED = ("bedtools.md", "saelens.md")  # in tests of their own, with what comes out

SUBSTITUTIONS = {  # what a page says, as a regular expression: what is run
    # places and counts
    r"(chr\w+):\d[\d,]*-\d[\d,]*": r"\1:1001-1100",
    r"-n 500\b": "-n 20",
    r"--d-sae 8192 --tokens 50000000": "--d-sae 64 --tokens 4096",
    r"i < 940000": "i < 30000",  # as many peaks as the stand-in of the cells has
    r" --layout umap": "",  # compiles for ten seconds; tests/insight/test_atlas.py does it
    # files that are not here
    r"hub tracks/ --assembly hg38": "hub tracks/ --genome hg38.fa",  # the lengths of the real hg38 are known
    r"--model me/my-dna-lm --layer 12": "--model $LM --layer 3",
    r"check-model \S+": r"\g<0> --golden golden.json",
    r'load_lm\("yeast", 3\)': 'load_lm(__import__("os").environ["LM"], 3)',
    # jobs and processes
    r"--array=1-16": "--array=1-2",
    r"\$SLURM_ARRAY_TASK_ID/16": "$SLURM_ARRAY_TASK_ID/2",
    r"sbatch-array.sh 16": "sbatch-array.sh 2",
    r"--nproc-per-node 4 (.*?)(?= +#)": r"--nproc-per-node 1 \1 --device cpu",
    r"(pretrain ce11.fa) -o lm/": r"\1 --size tiny --steps 2 --batch-size 2 -o lm/",
    r"-o lm/ \.\.\.": "-o lm/ --held-out chrV.bed",  # "..." stands for the options of the line before
}
NOT_RUN = {  # the beginning of a line, or words of a program: why it is not run
    "make demo": "takes minutes; tests/demo runs its steps on less",
    "make test": "is the suite that this test is a part of",
    "sae-tracks demo": "takes minutes; tests/demo runs its steps on less",
    "sae-tracks benchmark sae-1/": "takes minutes; tests/sharing/test_benchmark.py measures SAEs on less",
    "source .venv/bin/activate": "the test has its environment",
    "pip install": "the test has its environment",
    "snakemake ": "tests/workflow/test_snakemake.py runs the workflow",
    "examples/mistral_dna.sh": "tests/docs/test_mistral_dna.py runs it",
    "bcftools norm": "tests/insight/test_vcf.py runs it with the bcftools of pysam",
    "sae-tracks extract gpn:": "needs the package of the model",
    "import gpn.model": "needs the package of the model",
    "class Evo2:": "is a sketch of a plug-in",
    "def untrained(": "is a part of that sketch",
    "class Splice:": "is a sketch; tests/lm/test_splice_plugin.py runs such a plug-in",
}
NEEDS = {  # words of a line or a program: the program or module without which it is not run
    "bedtools": "bedtools",
    "h5ad": "anndata",
    "import scanpy": "scanpy",
    "JASPAR2024 ": "pyjaspar",
}


def blocks(page):
    """("sh" or "python", code) of a page in its order."""
    return re.findall(r"^```(sh|python)\n(.*?)^```$", page.read_text(), re.M | re.S)


PAGES = [page for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))) if page.name not in WRITTEN + TESTED]
PAGES = list(filter(blocks, PAGES))


def commands(language, code):
    """What is run or left out as a whole: a line of the shell with those that continue it, or a program."""
    return code.replace("\\\n", " ").splitlines() if language == "sh" else [code]


def left_out(command):
    """The entry of `NOT_RUN` that a command falls under, if any."""
    return next((key for key in NOT_RUN if command.startswith(key) or ("\n" in command and key in command)), None)


def can_run(command):
    """Whether all that a command needs is here; a warning says what is not."""
    missing = [name for words, name in NEEDS.items() if words in command and not is_installed(name)]
    if missing:
        warnings.warn(f"not run, because {' and '.join(missing)} is not installed: {command}", stacklevel=2)
    return not missing


def is_installed(name):
    return shutil.which(name) is not None or importlib.util.find_spec(name) is not None


def runnable(page):
    """("sh" or "python", code) of a page as it is run here."""
    for language, code in blocks(page):
        kept = [command for command in commands(language, code) if not left_out(command) and can_run(command)]
        code = "\n".join(kept)
        for said, run in SUBSTITUTIONS.items():
            code = re.sub(said, run, code, flags=re.M)
        if kept:
            yield language, code


def outputs(code):
    """The names that a page says are written, but for standard output and those with variables of the shell."""
    return re.findall(r"(?:\s-o|sbatch-array.sh \d+) (?!-\s)([^\s$']+)(?=\s|$)", code)


def clear(folder, code):
    """Remove the stand-ins for what a page makes itself: it is written where the page names it for the first time."""
    for name in outputs(code):
        first = re.search(rf"(-o |sbatch-array.sh \d+ )?(?<![\w./-]){re.escape(name.rstrip('/'))}(?![\w.-])", code)
        path = folder / name
        if first[1] and path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, warm):
    with page_inputs(tmp_path_factory.mktemp("pages"), warm) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_says_runs(page, inputs, tmp_path):
    folder = shutil.copytree(inputs, tmp_path / "work", symlinks=True)
    parts = list(runnable(page))
    clear(folder, "\n".join(code for _, code in parts))
    for language, code in parts:
        if language == "python":
            (folder / "program.py").write_text(code)
        shell("python program.py" if language == "python" else code, folder)
        for name in outputs(code):
            assert (folder / name).exists(), f"{name} was not written by\n{code}"


def test_the_tables_are_about_what_is_on_the_pages():
    said = [command for page in PAGES for block in blocks(page) for command in commands(*block)]
    assert {left_out(command) for command in said} - {None} == set(NOT_RUN)
    run = "\n".join(command for command in said if not left_out(command))
    assert [words for words in NEEDS if words not in run] == []
    assert [words for words in SUBSTITUTIONS if not re.search(words, run, re.M)] == []


def test_commands_stand_in_a_block_that_is_run():
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        assert re.findall(r"^ {4}sae-tracks .*", page.read_text(), re.M) == [], page
