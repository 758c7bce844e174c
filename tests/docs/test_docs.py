"""The documentation is up to date and points to what is there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("packaging/*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/**/*.md")])

EXAMPLES = sorted([*ROOT.glob("examples/*.sh"), *ROOT.glob("examples/*.ipynb")])


def test_the_command_line_reference_is_that_of_the_help():
    script = ROOT / "docs" / "make_cli_reference.py"
    out = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_to_a_heading_lead_to_it(page):
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text()):
        other = page.parent / target if target else page
        assert other.suffix != ".md" or anchor in anchors(other.read_text()), f"{target}#{anchor}"


def anchors(text):
    """What GitHub calls the headings of a page."""
    slugs, found = list[str](), list[str]()
    for heading in re.findall(r"^#+ +(.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M):
        words = re.sub(r"\]\([^)]*\)", "", heading).strip().lower()
        slug = re.sub(r"[^\w -]", "", words).replace(" ", "-")
        found.append(f"{slug}-{slugs.count(slug)}" if slug in slugs else slug)
        slugs.append(slug)
    return found


def test_anchors_are_those_of_github():
    text = "# Is it *real*? `a_b` (c)\n```\n# code\n```\n## [Cells](x.md#y)\n### Cells\n# Cells"
    assert anchors(text) == ["is-it-real-a_b-c", "cells", "cells-1", "cells-2"]


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLES], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_in_a_page_names_verbs_and_options_that_exist(page):
    from command_line import COMMANDS

    for line in re.findall(r"sae-tracks ([a-z][^`\n|]*)", page.read_text().replace("`sae-tracks`", "")):
        name = next((n for n in COMMANDS if line == n or line.startswith(f"{n} ")), None)
        if name is None:
            continue
        options = {option for p in COMMANDS[name].params for option in p.opts} | {"--help", "-h"}
        for option in re.findall(r"(?<=\s)--?[a-zA-Z][\w-]*", line.split("#")[0]):
            assert option in options, f"{name} {option}"


@pytest.mark.parametrize("page", [p for p in EXAMPLES if p.suffix == ".ipynb"], ids=lambda p: p.name)
def test_notebooks_are_committed_without_what_a_run_left(page):
    for cell in json.loads(page.read_text())["cells"]:
        assert cell["cell_type"] != "code" or (cell["outputs"], cell["execution_count"]) == ([], None)


def test_every_benchmark_can_be_imported(warm_python):
    """They take minutes to run, but a renamed function of the package is noticed here."""
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); import {', '.join(names)}"
    out = subprocess.run([warm_python, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
