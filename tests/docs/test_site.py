"""The pages as a site: MkDocs finds every page, link, anchor and picture, and refuses none."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not importlib.util.find_spec("material"), reason="needs mkdocs-material: pip install -e '.[site]'")
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ROOT / "mkdocs.yml", "-d", tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    home = (tmp_path / "site" / "index.html").read_text()
    assert 'href="guide/"' in home and 'src="images/genes.png"' in home  # in the repository they lie in docs/
    assert (tmp_path / "site" / "examples" / "own_tools.sh").is_file()
    outside = re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', home)
    assert outside == []  # nothing is fetched from another server


def test_every_page_is_in_the_menu():
    """The menu is read as text: PyYAML is no dependency of the tests."""
    named = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert named == pages | {"index.md", "CHANGELOG.md", "CONTRIBUTING.md"}
