"""A UCSC track hub for a folder of bigWigs: hub.txt, a page on how it was made, and the genome if UCSC has none."""

import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from urllib.parse import quote, urlencode

from sae_tracks.bbi import contig_lengths
from sae_tracks.browsers.names import REPEAT, NamedTrack, best_track, named_tracks
from sae_tracks.browsers.sites import Contigs, Sites, write_sites
from sae_tracks.browsers.stanzas import HUB, LONG, SHORT
from sae_tracks.controls.verdict import SUPPORTED
from sae_tracks.errors import SaeTracksError, UsageError
from sae_tracks.files import PROVENANCE, atomic, make_folder, without_folders
from sae_tracks.genome import ContigLengths, Genome
from sae_tracks.records import read_made
from sae_tracks.regions import GenomicRegion
from sae_tracks.tracks.bbi.twobit import write_two_bit
from sae_tracks.tracks.folder import relative
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


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub that was written."""

    path: Path  # hub.txt
    genome: str  # UCSC's name of the assembly, or the hub's own
    own_genome: bool  # the hub brings the genome along
    tracks: int
    annotations: int
    position: GenomicRegion  # where the track of the best match (without a match, the first track) is highest

    def link(self, url: str) -> str:
        """Return the browser's address for the hub, whose hub.txt or folder is served at a URL."""
        hub_url = url if url.endswith(".txt") else f"{url.rstrip('/')}/{HUB}"
        genome = {"genome" if self.own_genome else "db": self.genome}
        return f"{BROWSER}?{urlencode({**genome, 'hubUrl': hub_url, 'position': str(self.position)}, safe=':/')}"


def write_hub(
    folder: Path,
    out: Path | None = None,
    *,
    email: str = NO_EMAIL,
    assembly: str | None = None,
    genome: Genome | None = None,
    scores: Path | None = None,
    annotations: Sequence[Path] = (),
    copy: bool = False,
) -> Hub:
    """Write a hub over the bigWigs of a folder.

    Parameters
    ----------
    folder : Path
        Its bigWigs stay where they are, and the hub refers to them by relative paths, unless they are to be copied.
    out : Path, optional
        Folder of the hub; default `folder`.
    email : str
        Address for questions on the hub. UCSC refuses a hub without one.
    assembly : str
        UCSC's name of the genome, such as hg38.
    genome : Genome
        Instead, the FASTA of a genome that UCSC does not have. A .2bit is made from it.
    scores : Path, optional
        Table that names the tracks, see `named_tracks`. Without one they are named by their numbers.
    annotations : sequence of Path
        Shown beside the features, besides those of the folder; see `write_sites`.
    copy : bool
        Copy the tracks into `out`, so that this folder alone can be served.

    Raises
    ------
    SaeTracksError
        Both or neither of `assembly` and `genome` are given, there is no bigWig, or one is of another genome; the
        table or an annotation cannot be read.
    """
    if (assembly is None) == (genome is None):
        raise UsageError("name the genome: --assembly with UCSC's name, such as hg38, or --genome with a FASTA")
    tracks = named_tracks(folder, scores)
    paths = [track.file.path for track in tracks]
    name = _name(genome.path.name.split(".")[0]) if genome else str(assembly)
    contigs = Contigs(name, genome.lengths if genome else None)
    for path in paths:
        contigs.check(contig_lengths(path), path.name)
    out = make_folder(folder if out is None else out)
    if copy:
        tracks = [_copied(track, out) for track in tracks]
        paths = [track.file.path for track in tracks]
    if not all(path.resolve().is_relative_to(out.resolve()) for path in paths):
        log.warning("tracks lie outside %s, and the hub points to them: serve both as they lie, or add --copy", out)
    position = highest(best_track(tracks))
    sites = write_sites(folder, genome or ContigLengths(paths[0], contig_lengths(paths[0])), contigs, annotations, out)
    shown = [*_features(tracks, out), *(_annotation(each, out) for each in sites)]
    _check_names([stanza["track"] for stanza in shown], folder)
    if genome:
        write_two_bit(out / f"{name}.2bit", genome)
    stanzas = [_head(folder, email), _own_genome(name, position) if genome else {"genome": name}, *shown]
    for file, text in ((PAGE, _page(folder, tracks, scores, sites)), (HUB, "\n".join(map(_text, stanzas)))):
        with atomic(out / file) as temporary:
            temporary.write_text(text)
    return Hub(out / HUB, name, genome is not None, len(tracks), len(sites), position)


def _copied(track: NamedTrack, out: Path) -> NamedTrack:
    """The track as a copy in the hub's folder; one that lies there already is left as it is."""
    path = track.file.path
    if path.resolve().is_relative_to(out.resolve()):
        return track
    with atomic(out / path.name) as temporary:
        shutil.copyfile(path, temporary)
    return replace(track, file=replace(track.file, path=out / path.name))


def _check_names(names: list[str], folder: Path) -> None:
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise SaeTracksError(f"two files of {folder} would be {name} in UCSC's letters (A-Z, 0-9, _): rename one")


def _head(folder: Path, email: str) -> Settings:
    return {
        "hub": _name(f"sae_tracks_{folder.resolve().name}"),
        "shortLabel": "SAE features",
        "longLabel": f"Sparse autoencoder features of a gene language model: {folder.resolve().name}"[:LONG],
        "useOneFile": "on",
        "email": email,
        "descriptionUrl": PAGE,
    }


def _own_genome(name: str, position: GenomicRegion) -> Settings:
    """Return the stanza of an assembly hub."""
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


def _features(tracks: list[NamedTrack], out: Path) -> Iterator[Settings]:
    """Yield a composite for each verdict that occurs, and its tracks. Only the first features are turned on."""
    by_feature: dict[str, list[NamedTrack]] = {}
    for track in tracks:
        by_feature.setdefault(track.file.feature, []).append(track)
    shown = list(by_feature)[:SHOWN]
    for verdict, (composite, *_) in GROUPS.items():
        members = [track for track in tracks if _best_verdict(by_feature[track.file.feature]) == verdict]
        stranded = any(track.file.strand for track in members)
        if members:
            yield _composite(verdict, members, stranded)
        for priority, track in enumerate(members, 1):
            file = track.file
            stanza = _track(track, max(strand.file.maximum for strand in by_feature[file.feature]), out)
            strand = {"subGroups": f"strand={STRANDS[file.strand or '+']}"} if stranded else {}
            parent = f"{composite} {'on' if file.feature in shown else 'off'}"
            yield stanza | strand | {"parent": parent, "priority": str(priority)}


def _best_verdict(strands: list[NamedTrack]) -> str:
    """Return the better verdict of a feature's read strands, which stay together."""
    found = {track.match.verdict for track in strands if track.match}
    return next((verdict for verdict in GROUPS if verdict in found), "")


def _composite(verdict: str, members: list[NamedTrack], stranded: bool) -> Settings:
    name, short, long = GROUPS[verdict]
    strand = "strand Read_strand plus=Genome_as_given minus=Reverse_complement"
    return {
        "track": name,
        "compositeTrack": "on",
        "shortLabel": short,
        "longLabel": f"{long}: activation of {len({track.file.feature for track in members})}",
        "type": f"bigWig 0 {_upper(max(track.file.maximum for track in members))}",
        "visibility": "full",
        "autoScale": "off",
        "alwaysZero": "on",
        "windowingFunction": "maximum",
        "maxHeightPixels": "100:40:16",
        "priority": str(list(GROUPS).index(verdict) + 1),
        "html": PAGE,
    } | ({"subGroup1": strand, "dimensions": "dimX=strand"} if stranded else {})


def _track(track: NamedTrack, upper: float, out: Path) -> Settings:
    return {
        "track": f"sae_{_name(track.file.name)}",
        "parent": "",
        "bigDataUrl": quote(relative(track.file.path, out)),
        "shortLabel": track.short_title,
        "longLabel": _long_title(track),
        "type": f"bigWig 0 {_upper(upper)}",
        "viewLimits": f"0:{_upper(upper)}",
        "autoScale": "off",
        "windowingFunction": "maximum",
        "color": track.file.colour,
        "visibility": "full",
    }


def _long_title(track: NamedTrack) -> str:
    match, said = track.match, ""
    if match and match.verdict == SUPPORTED:
        names = " ".join(dict.fromkeys(filter(None, (match.tf, match.concept))))
        said = f", supported match with {names}{match.on_strand}"
    elif match:
        said = f", in repeats: {match.word}"
    elif track.described:
        said = f", strongest in {track.described}"
    return f"Activation of {track.file.label}{said}"[:LONG]


def _annotation(sites: Sites, out: Path) -> Settings:
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
    """Return the upper end of an axis from 0, which a track of zeros has too."""
    return f"{maximum or 1:.6g}"


def _name(text: str) -> str:
    """Return the letters, digits and underscores, after a letter, that UCSC takes as a name of hub, genome or track."""
    cleaned = re.sub(r"\W", "_", text, flags=re.ASCII)
    return cleaned if cleaned[:1].isalpha() else f"g{cleaned}"


def _text(stanza: Settings) -> str:
    indent = "    " if "parent" in stanza else ""
    return "".join(f"{indent}{key} {' '.join(value.split())}\n" for key, value in stanza.items())


def _page(folder: Path, tracks: list[NamedTrack], table: Path | None, annotations: list[Sites]) -> str:
    """Return the page of the hub as HTML under UCSC's headings; `table` is where the names of the tracks come from."""
    names = "".join(f"<li>{escape(sites.name)}</li>\n" for sites in annotations)
    beside = f"<p>Annotations beside the features:</p>\n<ul>\n{names}</ul>\n" if names else ""
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
{"".join(_item(track, scored=table is not None) for track in tracks)}</ul>
{beside}<h2>Methods</h2>
<p>Made with sae-tracks. The record of the last export into the folder of the tracks:</p>
<table>
{_record(folder) or "<tr><td>none was found</td></tr>"}</table>
<h2>References</h2>
<p>Features of a gene language model as in <a href="{PAPER}">arXiv:2507.07486</a>.</p>
"""


def _naming(table: Path | None) -> str:
    if table is None:
        return "The tracks are named by the number of their feature."
    return (
        f"Names come from <code>{escape(table.name)}</code>: a transcription factor (or another annotation) is named "
        "only if a match with it passed every test, a repeat if the repeat explains the match. Other names "
        "say where the strongest places of the feature lie. A bare number means that nothing is known."
    )


def _item(track: NamedTrack, *, scored: bool) -> str:
    match, said = track.match, "; no supported match" if scored else ""
    if match and match.verdict == SUPPORTED:
        said = f"; supported match with {escape(match.concept)}{match.on_strand}, F1 {match.f1:.2f}"
    elif match:
        said = f"; its match lies in repeats ({escape(match.word)})"
    elif track.described:
        said += f"; strongest in {escape(track.described)}"
    return f"<li>{escape(track.title)}: largest value {track.file.maximum:.6g}{said}</li>\n"


def _record(folder: Path) -> str:
    """Return the provenance of the tracks as rows of a table."""
    file = folder / PROVENANCE
    record = read_made(file, remedy="move it away if it is not that of the tracks") if file.is_file() else {}
    facts = without_folders(record)
    rows = ((escape(key), escape(_fact(value))) for key, value in facts.items())
    return "".join(f"<tr><th>{key}</th><td><code>{value}</code></td></tr>\n" for key, value in rows)


def _fact(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_FACT else f"{text[:LONGEST_FACT]} ..."
