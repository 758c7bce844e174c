"""Says what was scored, in plain words, from the provenance of the scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sae_tracks.errors import SaeTracksError
from sae_tracks.files import without_folders
from sae_tracks.names import counted
from sae_tracks.regions import parse_region

MOST_REGIONS = 3  # named one by one
WITHOUT_LIMIT = 1 << 62
HALVES: dict[bool | None, str] = {
    True: "Feature and threshold were chosen on alternate blocks of the sequence; the numbers are of the other blocks.",
    False: "Feature and threshold were chosen on the same bases that the numbers are of, which flatters them.",
}


def sentences(facts: Mapping[str, Any], concepts: int, pairs: int, signals: int = 0) -> list[str]:
    """Return the sentences at the head of the page, as far as the provenance has the facts.

    `facts` is ``provenance.json`` of `metrics`, or of tracks that were not scored. `concepts` and `pairs` are the
    numbers of names of annotations and of scored rows; `signals` is that of signals.
    """
    said = [_what(facts), _where(facts, "They were scored on" if pairs or signals else "Their tracks lie on")]
    if pairs:
        said += [
            f"For each of {counted(concepts, 'concept')}, on each site strand, the table has the feature that matches "
            f"best: {counted(pairs, 'match', 'matches')}, each beside its rivals.",
            _halves(facts),
        ]
    if signals:
        said.append(
            f"For each of {counted(signals, 'signal')}, the page has the feature that follows it best, beside its "
            "rivals."
        )
    if not pairs and not signals:
        said.append("They were not scored here.")
    return list(filter(None, said))


def _what(facts: Mapping[str, Any]) -> str:
    lm = facts.get("lm")
    if not lm:
        bed = "Intervals of features, read from a BED file, were compared with annotations."
        return bed if facts.get("bed") else ""
    sae = f" (weights {facts['sae_sha256'][:8]})" if facts.get("sae_sha256") else ""
    layer = f" at {lm['hook_name']}" if lm.get("hook_name") else ""
    if lm.get("layer"):
        layer = f" after block {lm['layer']}"
    return f"The features are those of a sparse autoencoder{sae} on the language model {lm.get('model', '')}{layer}."


def _where(facts: Mapping[str, Any], they: str) -> str:
    genome, texts = facts.get("genome"), facts.get("regions") or []
    if not genome:
        return ""
    named = ", ".join(map(str, texts[:MOST_REGIONS])) or "all contigs"
    more = f" and {len(texts) - MOST_REGIONS:,} regions more" if len(texts) > MOST_REGIONS else ""
    bases = _bases(texts)
    size = f" ({bases:,} bases)" if bases else ""
    strands = " and ".join(facts.get("read_strands") or [])
    read = f", read on strand {strands}" if strands else ""
    files = ", ".join(Path(name).name for name in facts.get("annotations") or {})
    against = f" They were compared with {files} and with the letters A, C, G and T." if files else ""
    return f"{they} {Path(genome['path']).name}, {named}{more}{size}{read}.{against}"


def _bases(texts: Sequence[str]) -> int:
    """Return the bases of regions in samtools' notation; 0 if one cannot be read."""
    try:
        regions = [parse_region(text, {text.rpartition(":")[0]: WITHOUT_LIMIT}) for text in texts]
    except SaeTracksError:
        return 0
    return sum(map(len, regions))


def _halves(facts: Mapping[str, Any]) -> str:
    if facts.get("select_on") or facts.get("report_on"):
        return "Feature and threshold were chosen on some regions; the numbers are of others, named below."
    return HALVES.get(facts.get("split"), "")


def settings(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values for the end of the page, one line each; paths are shown without their folders."""
    shown = without_folders(dict(facts))
    return [(name.replace("_", " "), _plain(value)) for name, value in shown.items() if value not in (None, {}, [])]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_plain(inner)}" for name, inner in value.items() if inner not in (None, {}, []))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_plain(inner) for inner in value)
    return str(value)
