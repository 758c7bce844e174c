"""What a page consists of: an address within it, and a file, some bytes, or how to make them."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from sae_tracks.files import atomic

Content = Path | bytes | Callable[[], bytes]
Site = Mapping[str, Content]  # by address: relative, not percent-encoded, "tracks/f357.bw"


def write_site(site: Site, out: Path) -> None:
    """Write every file of a page into a folder; tracks and FASTA are copied."""
    for address, content in site.items():
        with atomic(out / address) as temporary:
            if isinstance(content, Path):
                shutil.copyfile(content, temporary)
            else:
                temporary.write_bytes(content if isinstance(content, bytes) else content())


def folder_site(folder: Path) -> dict[str, Content]:
    """The regular files below a folder that `write_site` filled; nothing that is hidden or a link is among them."""
    found: dict[str, Content] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        links = any((folder / Path(*parts[: i + 1])).is_symlink() for i in range(len(parts)))
        if path.is_file() and not links and not any(part.startswith(".") for part in parts):
            found["/".join(parts)] = path.resolve()
    return found
