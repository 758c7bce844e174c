"""A UCSC track hub over a folder of bigWigs: hub.txt, a page on how it was made, and the genome where UCSC has none."""

import html
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, make_folder, read_json
from sae_tracks.genome import Genome
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks.folder import TrackFile, contig_lengths, highest, list_tracks
from sae_tracks.tracks.twobit import write_two_bit

HUB, PAGE = "hub.txt", "description.html"
SHORT, LONG = 17, 80  # letters that UCSC shows of a short and of a long label
COMPOSITE = "sae_features"
BROWSER = "https://genome.ucsc.edu/cgi-bin/hgTracks"
NO_EMAIL = "nobody@example.org"

Stanza = dict[str, str]


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub that was written.

    Attributes
    ----------
    path : Path
        Its hub.txt.
    genome : str
        UCSC's name of the assembly, or the hub's own.
    own_genome : bool
        Whether the hub brings the genome along.
    tracks : int
        Number of bigWigs.
    position : GenomicRegion
        Where the first track is highest.
    """

    path: Path
    genome: str
    own_genome: bool
    tracks: int
    position: GenomicRegion

    def link(self, url: str) -> str:
        """The browser's address for the hub.

        Parameters
        ----------
        url : str
            Where the folder of hub.txt, or hub.txt itself, is served.
        """
        hub_url = url if url.endswith(".txt") else f"{url.rstrip('/')}/{HUB}"
        genome = {"genome" if self.own_genome else "db": self.genome}
        return f"{BROWSER}?{urlencode({**genome, 'hubUrl': hub_url, 'position': str(self.position)}, safe=':/')}"


def write_hub(
    tracks: Path,
    out: Path | None = None,
    *,
    email: str = NO_EMAIL,
    assembly: str | None = None,
    genome: Genome | None = None,
) -> Hub:
    """Write a hub over the bigWigs of a folder.

    Parameters
    ----------
    tracks : Path
        Folder of bigWigs; they stay where they are, and the hub points to them by relative paths.
    out : Path, optional
        Folder of the hub; default `tracks`.
    email : str
        Whom the users of the hub may ask; UCSC refuses a hub without an address.
    assembly : str
        UCSC's name of the genome, such as hg38.
    genome : Genome
        Or, for a genome that UCSC does not have: its FASTA, from which a .2bit is made.

    Raises
    ------
    SaeTracksError
        Both or neither of `assembly` and `genome` are given, there is no bigWig, or one is of another genome.
    """
    if (assembly is None) == (genome is None):
        raise SaeTracksError("name the genome: --assembly with UCSC's name, such as hg38, or --genome with a FASTA")
    files = list_tracks(tracks)
    if len({_name(file.name) for file in files}) < len(files):
        raise SaeTracksError(f"two bigWigs of {tracks} differ only in letters that UCSC does not take: rename one")
    out = make_folder(tracks if out is None else out)
    position = highest(files[0].path)
    name = _name(genome.path.name.split(".")[0]) if genome else str(assembly)
    where = _own_genome(out, name, genome, files, position) if genome else {"genome": name}
    stanzas = [_head(tracks, email), where, _composite(files), *(_track(file, out) for file in files)]
    _write(out / PAGE, _page(tracks, files))
    _write(out / HUB, "\n".join(_text(stanza) for stanza in stanzas))
    return Hub(out / HUB, name, genome is not None, len(files), position)


def _head(tracks: Path, email: str) -> Stanza:
    return {
        "hub": _name(f"sae_tracks_{tracks.resolve().name}"),
        "shortLabel": "SAE features",
        "longLabel": f"Sparse autoencoder features of a gene language model: {tracks.resolve().name}"[:LONG],
        "useOneFile": "on",
        "email": email,
        "descriptionUrl": PAGE,
    }


def _own_genome(out: Path, name: str, genome: Genome, files: list[TrackFile], position: GenomicRegion) -> Stanza:
    """Write the .2bit, and the stanza of an assembly hub."""
    for file in files:
        others = contig_lengths(file.path).items() - genome.lengths.items()
        if others:
            contig, length = min(others)
            raise SaeTracksError(
                f"{file.path.name} is of another genome: its {contig!r} has {length:,} bases, "
                f"which {genome.path.name} does not have"
            )
    write_two_bit(out / f"{name}.2bit", genome)
    return {
        "genome": name,
        "twoBitPath": f"{name}.2bit",
        "organism": name,
        "scientificName": name,
        "description": name,
        "defaultPos": str(position),
        "orderKey": "1",
        "htmlPath": PAGE,
    }


def _composite(files: list[TrackFile]) -> Stanza:
    return {
        "track": COMPOSITE,
        "compositeTrack": "on",
        "shortLabel": "SAE features",
        "longLabel": f"Activation of {len(files)} sparse autoencoder features"[:LONG],
        "type": f"bigWig 0 {_upper(max(file.maximum for file in files))}",
        "visibility": "full",
        "autoScale": "off",
        "alwaysZero": "on",
        "windowingFunction": "maximum",
        "maxHeightPixels": "100:40:16",
        "html": PAGE,
    }


def _track(file: TrackFile, out: Path) -> Stanza:
    return {
        "track": f"{COMPOSITE}_{_name(file.name)}",
        "parent": f"{COMPOSITE} on",
        "bigDataUrl": quote(Path(os.path.relpath(file.path, out)).as_posix()),
        "shortLabel": file.label[:SHORT],
        "longLabel": f"Activation of {file.label}"[:LONG],
        "type": f"bigWig 0 {_upper(file.maximum)}",
        "viewLimits": f"0:{_upper(file.maximum)}",
        "autoScale": "off",
        "windowingFunction": "maximum",
        "color": file.colour,
        "visibility": "full",
        "priority": str(file.group + 1),
    }


def _upper(maximum: float) -> str:
    """The upper end of an axis from 0: a track of zeros has one too."""
    return f"{maximum or 1:.6g}"


def _name(text: str) -> str:
    """Letters, digits and underscores, a letter first: what UCSC takes for the name of a hub, a genome or a track."""
    cleaned = re.sub(r"\W", "_", text, flags=re.ASCII)
    return cleaned if cleaned[:1].isalpha() else f"g{cleaned}"


def _text(stanza: Stanza) -> str:
    indent = "    " if "parent" in stanza else ""
    return "".join(f"{indent}{key} {value}\n" for key, value in stanza.items())


def _page(tracks: Path, files: list[TrackFile]) -> str:
    """The description: what the tracks are, which there are, and the record of the last export into the folder."""
    record = read_json(tracks / PROVENANCE) if (tracks / PROVENANCE).is_file() else {}
    names = "".join(f"<li>{html.escape(file.label)}: largest value {file.maximum:.6g}</li>\n" for file in files)
    facts = "".join(
        f"<tr><th>{html.escape(key)}</th><td><code>{html.escape(_fact(value))}</code></td></tr>\n"
        for key, value in record.items()
    )
    return f"""<h2>Description</h2>
<p>Activations of sparse autoencoder (SAE) features along the genome. A gene language model reads the DNA, the SAE
splits its activations into features, and each track shows one feature: a value on every base that could be read, none
on N, other IUPAC letters and regions left out. &quot;read +&quot; is the model reading the genome as given,
&quot;read -&quot; its reverse complement.</p>
<h2>Tracks</h2>
<ul>
{names}</ul>
<h2>Methods</h2>
<p>Made with sae-tracks. The record of the last export into this folder:</p>
<table>
{facts or "<tr><td>none was found</td></tr>"}</table>
"""


def _fact(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 1000 else f"{text[:1000]} ..."


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text)
