"""A UCSC track hub for a folder of bigWigs: hub.txt, a page on how it was made, and the genome if UCSC has none."""

import html
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from sae_tracks.browsers.names import REPEAT, Match, Matches, best_track, match_of, named_tracks, short_title, title
from sae_tracks.browsers.sites import Contigs, Sites, write_sites
from sae_tracks.browsers.stanzas import HUB, LONG, SHORT
from sae_tracks.controls.verdict import SUPPORTED
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, make_folder, read_json, without_folders
from sae_tracks.genome import ContigLengths, Genome
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks.bbi.read import contig_lengths
from sae_tracks.tracks.bbi.twobit import write_two_bit
from sae_tracks.tracks.folder import TrackFile, relative
from sae_tracks.tracks.loci import highest

LONGEST_FACT = 1000  # letters of a line of the record
PAPER = "https://arxiv.org/abs/2507.07486"
PAGE = "description.html"
BROWSER = "https://genome.ucsc.edu/cgi-bin/hgTracks"
NO_EMAIL = "nobody@example.org"
SHOWN = 20  # features that are drawn when the hub is opened; the others are one click away
GROUPS = {  # composites: verdict of the best match, name, short and long label
    SUPPORTED: ("group_supported", "SAE supported", "Features with a supported match"),
    REPEAT: ("group_repeat", "SAE in repeats", "Features whose match lies in repeats"),
    "": ("group_features", "SAE features", "Features of a sparse autoencoder"),
}
STRANDS = {"+": "plus", "-": "minus"}
log = logging.getLogger(__name__)
Settings = dict[str, str]


def description(
    folder: Path, tracks: Sequence[TrackFile], matches: Matches, table: Path | None, annotations: Sequence[Sites]
) -> str:
    """HTML under UCSC's headings for a page of a track.

    Parameters
    ----------
    folder : Path
        Of the tracks; its ``provenance.json`` is the record of the last export into it.
    tracks : sequence of TrackFile
    matches : mapping
        See `read_matches`.
    table : Path, optional
        Where they come from.
    annotations : sequence of Sites
    """
    return f"""<h2>Description</h2>
<p>Activations of sparse autoencoder (SAE) features along the genome. A gene language model reads the DNA, the SAE
splits its activations into features, and each track shows one feature: a value on every base that could be read, none
on N, other IUPAC letters and regions left out. &quot;read +&quot; is the model reading the genome as given,
&quot;read -&quot; its reverse complement.</p>
<h2>Display Conventions and Configuration</h2>
<p>Height is the largest activation of the bases of a pixel. Every axis goes from 0 to the largest value of its feature,
so heights of different features are not comparable; both read strands of a feature share axis and colour.
{_naming(table)}</p>
<ul>
{"".join(_said_of_track(track, match_of(track, matches), scored=table is not None) for track in tracks)}</ul>
{_beside(annotations)}<h2>Methods</h2>
<p>Made with sae-tracks. The record of the last export into the folder of the tracks:</p>
<table>
{_record(folder) or "<tr><td>none was found</td></tr>"}</table>
<h2>References</h2>
<p>Features of a gene language model as in <a href="{PAPER}">arXiv:2507.07486</a>.</p>
"""


def _naming(table: Path | None) -> str:
    if table is None:
        return "The tracks go by the number of their feature."
    return (
        f"Names come from <code>{html.escape(table.name)}</code>: a transcription factor (or another annotation) is "
        "named only where a match with it passed every test, a repeat where the repeat explains the match; a bare "
        "number says that neither is known."
    )


def _said_of_track(track: TrackFile, match: Match | None, *, scored: bool) -> str:
    text = f"<li>{html.escape(title(track, match))}: largest value {track.maximum:.6g}"
    if match is None:
        return text + "; no supported match" * scored + "</li>\n"
    if match.verdict == SUPPORTED:
        return f"{text}; supported match with {html.escape(match.concept)}, F1 {match.f1:.2f}</li>\n"
    return f"{text}; what it matches lies in repeats ({html.escape(match.word)})</li>\n"


def _beside(annotations: Sequence[Sites]) -> str:
    names = "".join(f"<li>{html.escape(sites.name)}</li>\n" for sites in annotations)
    return f"<p>Annotations beside the features:</p>\n<ul>\n{names}</ul>\n" if names else ""


def _record(folder: Path) -> str:
    record: Any = read_json(folder / PROVENANCE) if (folder / PROVENANCE).is_file() else {}
    facts = without_folders(record) if isinstance(record, dict) else {}  # a list was not written by an export
    rows = ((html.escape(key), html.escape(_fact(value))) for key, value in facts.items())
    return "".join(f"<tr><th>{key}</th><td><code>{value}</code></td></tr>\n" for key, value in rows)


def _fact(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_FACT else f"{text[:LONGEST_FACT]} ..."


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
    tracks, annotations : int
        Number of bigWigs, and of annotations beside them.
    position : GenomicRegion
        Where the track of the best match is highest; without a match the first track.
    """

    path: Path
    genome: str
    own_genome: bool
    tracks: int
    annotations: int
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
    scores: Path | None = None,
    annotations: Sequence[Path] = (),
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
    scores : Path, optional
        Table that names the tracks, see `read_matches`; without one they go by their numbers.
    annotations : sequence of Path
        Shown beside the features, besides those of the folder; see `write_sites`.

    Raises
    ------
    SaeTracksError
        Both or neither of `assembly` and `genome` are given, there is no bigWig, or one is of another genome; the
        table or an annotation cannot be read.
    """
    if (assembly is None) == (genome is None):
        raise SaeTracksError("name the genome: --assembly with UCSC's name, such as hg38, or --genome with a FASTA")
    files, matches = named_tracks(tracks, scores)
    name = _name(genome.path.name.split(".")[0]) if genome else str(assembly)
    contigs = Contigs(name, genome.lengths if genome else None)
    for file in files:
        contigs.check(contig_lengths(file.path), file.path.name)
    out = make_folder(tracks if out is None else out)
    if not all(file.path.resolve().is_relative_to(out.resolve()) for file in files):
        log.warning("tracks lie outside %s, and the hub points to them by relative paths: serve both as they lie", out)
    position = highest(best_track(files, matches).path)
    sites = write_sites(
        tracks, genome or ContigLengths(files[0].path, contig_lengths(files[0].path)), contigs, annotations, out
    )
    shown = [*_features(files, matches, out), *(_sites(each, out) for each in sites)]
    _check_names([stanza["track"] for stanza in shown], tracks)
    if genome:
        write_two_bit(out / f"{name}.2bit", genome)
    where = _own_genome(name, position) if genome else {"genome": name}
    _write(out / PAGE, description(tracks, files, matches, scores, sites))
    _write(out / HUB, "\n".join(_text(stanza) for stanza in (_head(tracks, email), where, *shown)))
    return Hub(out / HUB, name, genome is not None, len(files), len(sites), position)


def _check_names(names: list[str], tracks: Path) -> None:
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise SaeTracksError(f"two files of {tracks} would be {name} in UCSC's letters (A-Z, 0-9, _): rename one")


def _head(tracks: Path, email: str) -> Settings:
    return {
        "hub": _name(f"sae_tracks_{tracks.resolve().name}"),
        "shortLabel": "SAE features",
        "longLabel": f"Sparse autoencoder features of a gene language model: {tracks.resolve().name}"[:LONG],
        "useOneFile": "on",
        "email": email,
        "descriptionUrl": PAGE,
    }


def _own_genome(name: str, position: GenomicRegion) -> Settings:
    """The stanza of an assembly hub."""
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


def _features(files: list[TrackFile], matches: Matches, out: Path) -> Iterator[Settings]:
    """A composite for each outcome that occurs, and its tracks; of the first features all tracks are on."""
    upper: dict[str, float] = {}
    for file in files:
        upper[file.feature] = max(file.maximum, upper.get(file.feature, 0.0))
    shown = set(list(upper)[:SHOWN])
    for verdict, (composite, *_) in GROUPS.items():
        members = [file for file in files if _outcome(file, matches) == verdict]
        if members:
            yield _composite(verdict, members)
        stranded = _has_strands(members)
        for priority, file in enumerate(members, 1):
            on = "on" if file.feature in shown else "off"
            stanza = _track(file, match_of(file, matches), upper[file.feature], out)
            strand = {"subGroups": f"strand={STRANDS[file.strand or '+']}"} if stranded else {}
            yield stanza | strand | {"parent": f"{composite} {on}", "priority": str(priority)}


def _outcome(file: TrackFile, matches: Matches) -> str:
    """The better verdict of a feature's read strands, which stay together."""
    found = {match.verdict for strand in STRANDS if (match := matches.get((file.feature, strand)))}
    return next((verdict for verdict in GROUPS if verdict in found), "")


def _has_strands(members: list[TrackFile]) -> bool:
    return any(file.strand for file in members)


def _composite(verdict: str, members: list[TrackFile]) -> Settings:
    name, short, long = GROUPS[verdict]
    stanza = {
        "track": name,
        "compositeTrack": "on",
        "shortLabel": short,
        "longLabel": f"{long}: activation of {len({file.feature for file in members})}",
        "type": f"bigWig 0 {_upper(max(file.maximum for file in members))}",
        "visibility": "full",
        "autoScale": "off",
        "alwaysZero": "on",
        "windowingFunction": "maximum",
        "maxHeightPixels": "100:40:16",
        "priority": str(list(GROUPS).index(verdict) + 1),
        "html": PAGE,
    }
    if _has_strands(members):
        stanza["subGroup1"] = "strand Read_strand plus=Genome_as_given minus=Reverse_complement"
        stanza["dimensions"] = "dimX=strand"
    return stanza


def _track(file: TrackFile, match: Match | None, upper: float, out: Path) -> Settings:
    return {
        "track": f"sae_{_name(file.name)}",
        "parent": "",
        "bigDataUrl": quote(relative(file.path, out)),
        "shortLabel": short_title(file, match),
        "longLabel": _long_title(file, match),
        "type": f"bigWig 0 {_upper(upper)}",
        "viewLimits": f"0:{_upper(upper)}",
        "autoScale": "off",
        "windowingFunction": "maximum",
        "color": file.colour,
        "visibility": "full",
    }


def _long_title(file: TrackFile, match: Match | None) -> str:
    if match is None:
        said = ""
    elif match.verdict == SUPPORTED:
        said = f", supported match with {' '.join(dict.fromkeys(filter(None, (match.tf, match.concept))))}"
    else:
        said = f", in repeats: {match.word}"
    return f"Activation of {file.label}{said}"[:LONG]


def _sites(sites: Sites, out: Path) -> Settings:
    stanza = {
        "track": f"sites_{_name(sites.name)}",
        "bigDataUrl": quote(relative(sites.path, out)),
        "shortLabel": sites.name[:SHORT],
        "longLabel": f"Annotation {sites.name}"[:LONG],
        "type": sites.type,
        "visibility": "pack",
        "color": "80,80,80",
        "priority": str(len(GROUPS) + 1),
        "html": PAGE,
    }
    return stanza | ({"labelFields": "TFName,name", "defaultLabelFields": "TFName"} if sites.factors else {})


def _upper(maximum: float) -> str:
    """The upper end of an axis from 0: a track of zeros has one too."""
    return f"{maximum or 1:.6g}"


def _name(text: str) -> str:
    """Letters, digits and underscores, a letter first: what UCSC takes for the name of a hub, a genome or a track."""
    cleaned = re.sub(r"\W", "_", text, flags=re.ASCII)
    return cleaned if cleaned[:1].isalpha() else f"g{cleaned}"


def _text(stanza: Settings) -> str:
    indent = "    " if "parent" in stanza else ""
    return "".join(f"{indent}{key} {' '.join(value.split())}\n" for key, value in stanza.items())


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text)
