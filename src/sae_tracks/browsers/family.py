"""Which track of a hub belongs to which: parents, composites, views and subgroups."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain

from sae_tracks.browsers.stanzas import Report, Stanza

OWN = ("track", "parent", "compositeTrack", "container", "superTrack", "view", "bigDataUrl")  # not handed down
SUBGROUP = re.compile(r"subGroup[1-9]")
COLOUR = "subtrackColor"  # a column to sort by that is no subgroup

Tracks = Mapping[str, Stanza]
Groups = dict[str, tuple[int, set[str]]]  # line and tags of each subgroup


def parent_of(track: Stanza) -> str:
    """The name of a track's parent; "" where it has none."""
    line = track.get("parent") or ("" if is_super(track) else track.get("superTrack"))
    return line.split()[0] if line else ""


def is_super(track: Stanza) -> bool:
    """Whether it is a super-track."""
    return track.get("superTrack").split()[:1] == ["on"]


def is_container(track: Stanza) -> bool:
    """Whether it may have children."""
    return is_super(track) or any(track.get(name) for name in ("compositeTrack", "container", "view"))


def ancestors(track: Stanza, tracks: Tracks) -> Iterator[Stanza]:
    """Parent, its parent, and so on; it ends where one is missing or comes again."""
    seen = {track.name}
    while (name := parent_of(track)) in tracks and name not in seen:
        seen.add(name)
        track = tracks[name]
        yield track


def inherited(track: Stanza, tracks: Tracks) -> Stanza:
    """The settings of a track and, where it lacks one, those of its parents."""
    found = Stanza(track.line, dict(track.settings))
    for above in ancestors(track, tracks):
        for name, setting in above.settings.items():
            if name not in OWN:
                found.settings.setdefault(name, setting)
    return found


def check_family(tracks: Tracks, report: Report) -> dict[str, list[Stanza]]:
    """Check parents and subgroups; returns the children of every track."""
    children: dict[str, list[Stanza]] = {name: [] for name in tracks}
    for track in tracks.values():
        if _check_parent(track, tracks, report):
            children[parent_of(track)].append(track)
    for name, track in tracks.items():
        _check_container(track, children[name], report)
        if track.get("compositeTrack"):
            _check_composite(track, _leaves(track, children), report)
        elif track.get("subGroups") and not any(above.get("compositeTrack") for above in ancestors(track, tracks)):
            report(track.at("subGroups"), f"track {name} has subGroups, but no composite above it that defines them")
    return children


def _check_parent(track: Stanza, tracks: Tracks, report: Report) -> bool:
    """Whether a track has a parent that can have it."""
    name = parent_of(track)
    if not name:
        return False
    line = track.at("parent" if "parent" in track.settings else "superTrack")
    if track.get("parent").split()[1:] not in ([], ["on"], ["off"]):
        report(line, f"parent {track.get('parent')!r}: it is a name, or a name and on or off")
    if name == track.name or track.name in map(parent_of, ancestors(track, tracks)):
        report(line, f"track {track.name} is its own parent")
    elif name not in tracks:
        report(line, f"parent {name} of track {track.name} is no track of this genome")
    elif not is_container(tracks[name]):
        report(line, f"parent {name} of track {track.name} is no compositeTrack, container, view or superTrack")
    elif track.get("view") and not tracks[name].get("compositeTrack"):
        report(line, f"parent {name} of view {track.name} is no compositeTrack")
    elif track.get("compositeTrack") and not is_super(tracks[name]):
        report(line, f"parent {name} of the composite {track.name} is no superTrack")
    else:
        return True
    return False


def _check_container(track: Stanza, children: list[Stanza], report: Report) -> None:
    if not is_container(track):
        return
    if not children:
        report(track.line, f"track {track.name} is a container, but no track names it as its parent")
    if track.get("bigDataUrl"):
        report(track.at("bigDataUrl"), f"track {track.name} is a container and so has no data of its own")
    if track.get("container") == "multiWig" and len(children) == 1:
        report(track.line, f"multiWig {track.name} has one track: it overlays at least two")


def _leaves(track: Stanza, children: Mapping[str, list[Stanza]]) -> list[Stanza]:
    """The tracks of a composite, those below its views too."""
    below = (_leaves(child, children) if child.get("view") else [child] for child in children[track.name])
    return list(chain.from_iterable(below))


def _check_composite(track: Stanza, leaves: list[Stanza], report: Report) -> None:
    groups = _subgroups(track, report)
    for setting, ends_with_group in (("dimensions", True), ("sortOrder", False)):
        for word in track.get(setting).split():
            key, equals, value = word.partition("=")
            group = value if ends_with_group else key
            if not equals or not value:
                report(track.at(setting), f"{setting}: {word!r} is no name=value")
            elif group not in groups and group != COLOUR:
                report(track.at(setting), f"{setting}: {group!r} is no subGroup of {track.name}")
    used: dict[str, set[str]] = {name: set() for name in groups}
    for leaf in leaves:
        for group, tag in _check_member(leaf, groups, report).items():
            used[group].add(tag)
    for name, (line, tags) in groups.items():
        for tag in sorted(tags - used[name]):
            report(line, f"subgroup {name}: no track is in {tag!r}", error=False)


def _subgroups(track: Stanza, report: Report) -> Groups:
    """The subgroups that a composite defines."""
    groups: Groups = {}
    for setting, (value, line) in track.settings.items():
        if not SUBGROUP.fullmatch(setting):
            continue
        name, *rest = value.split() or [""]
        tags = [word.partition("=") for word in rest[1:]]
        if not tags or not all(tag and equals and title for tag, equals, title in tags):
            report(line, f"{setting} {value!r}: it is a name, a title, and tag=title for each group, without blanks")
        if name in groups:
            report(line, f"subgroup {name} is defined already, in line {groups[name][0]}")
        groups[name] = line, {tag for tag, equals, _ in tags if equals}
    return groups


def _check_member(track: Stanza, groups: Groups, report: Report) -> dict[str, str]:
    """The groups that a track is in, those that exist."""
    line = track.at("subGroups")
    pairs = {name: tag for name, _, tag in (word.partition("=") for word in track.get("subGroups").split())}
    for name, tag in pairs.items():
        if name not in groups:
            report(line, f"track {track.name}: subgroup {name!r} is not defined by its composite")
        elif tag not in groups[name][1]:
            report(line, f"track {track.name}: {tag!r} is no group of {name}, of line {groups[name][0]}")
    for name in groups.keys() - pairs.keys():
        report(line, f"track {track.name} is in no group of {name}: name one in subGroups")
    return {name: tag for name, tag in pairs.items() if name in groups}
