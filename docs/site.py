"""What MkDocs needs to show these pages, which GitHub shows too: links that lead out of docs/ lead into the site."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
HOME = "README.md"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)#]+)(#[^)]*)?\)")


def outside(page: Path) -> dict[str, Path]:
    """The targets of a page's links that lie in the repository, outside of docs/."""
    found = {target: (page.parent / target).resolve() for _, _, target, _ in LINK.findall(page.read_text())}
    return {target: path for target, path in found.items() if not path.is_relative_to(ROOT / "docs")}


def address(path: Path) -> str:
    """Where a file of the repository lies in the site: README.md is its first page, docs/ its root."""
    if path == ROOT / HOME:
        return "index.md"
    inside = path.relative_to(ROOT / "docs") if path.is_relative_to(ROOT / "docs") else path.relative_to(ROOT)
    return inside.as_posix()


def on_files(files: Files, config) -> Files:
    """Add the README, and the pages and files that the pages link to."""
    waiting, known = [ROOT / HOME, *(ROOT / "docs" / file.src_uri for file in files.documentation_pages())], set()
    while waiting:
        page = waiting.pop()
        for path in [page, *outside(page).values()]:
            if path in known or not path.is_file():
                continue
            known.add(path)
            if not path.is_relative_to(ROOT / "docs"):
                files.append(File.generated(config, address(path), abs_src_path=str(path)))
                waiting += [path] if path.suffix == ".md" else []
    return files


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Turn links between files of the repository into links of the site; one to a folder becomes plain text."""
    source = Path(page.file.abs_src_path)

    def turn(match: re.Match) -> str:
        shown, text, target, anchor = match.groups()
        path = (source.parent / target).resolve()
        if path.is_dir():
            return text
        relative = posixpath.relpath(address(path), posixpath.dirname(page.file.src_uri) or ".")
        return f"{shown}[{text}]({relative}{anchor or ''})"

    return LINK.sub(turn, markdown)
