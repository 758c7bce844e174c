"""The methods paragraph of a folder of scores, for a paper, from what its provenance records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_tracks.controls.verdict import MOST_Q
from sae_tracks.names import counted

METHODS = "methods.txt"
NO_RECORD = "no record of them"
PAPER = "Guan, He and Zhang 2025, arXiv 2507.07486"
JASPAR = {
    "2022": "JASPAR 2022 (Castro-Mondragon et al. 2022, Nucleic Acids Research 50:D165)",
    "2024": "JASPAR 2024 (Rauluseviciute et al. 2024, Nucleic Acids Research 52:D174)",
}  # by release
EMERY = "Emery, Hasam, Noble and Keich 2020"
BENJAMINI = "Benjamini and Hochberg 1995"


def methods_paragraph(facts: Mapping[str, Any]) -> str:
    """Say in one paragraph how matches were scored and tested.

    Parameters
    ----------
    facts : mapping
        ``provenance.json`` of a folder of scores. What it does not record is left out; without ``controls``, or if
        these were not run, the paragraph says so.

    Returns
    -------
    str
        Sentences in one line, the works to cite last.
    """
    controls = facts.get("controls") or {"not_run": NO_RECORD}
    said = [_scored(facts), _halves(facts)]
    cited = [f"the method of features and F1 ({PAPER})"]
    if reason := controls.get("not_run"):
        said.append(f"No control tests were run ({reason}), so every verdict is not-tested.")
    else:
        said += [_ranked(controls), _interval(controls), *_chance(controls, cited), *_others(controls)]
        if jaspar := _jaspar(controls.get("motifs")):
            cited.append(jaspar)
    return " ".join([*filter(None, said), f"Please cite {'; '.join(cited)}."])


def _scored(facts: Mapping[str, Any]) -> str:
    version = f" {facts['sae_tracks']}" if facts.get("sae_tracks") else ""
    lm, sae = facts.get("lm") or {}, facts.get("sae_sha256")
    model = ""
    if lm.get("model"):
        revision = f" (revision {lm['revision']})" if lm.get("revision") else ""
        layer = f" after block {lm['layer']}" if lm.get("layer") else ""
        weights = f" (weights SHA-256 {sae[:8]})" if sae else ""
        model = f" of a sparse autoencoder{weights} on {lm['model']}{revision}{layer}"
    files = ", ".join(Path(name).name for name in facts.get("annotations") or {})
    genome = (facts.get("genome") or {}).get("path")
    on = f" on {Path(genome).name}" if genome else ""
    against = f" against {files}" if files else ""
    return f"Features{model} were scored{against}{on} with sae-tracks{version}."


def _halves(facts: Mapping[str, Any]) -> str:
    if facts.get("select_on") or facts.get("report_on"):
        blocks = "on separate, named regions"
    elif facts.get("split") is False:
        return "Feature and threshold of each concept were chosen on the same bases as the numbers are of."
    else:
        blocks = "on alternate blocks of the sequence (the select half)"
    return (
        f"For each concept, the feature and the threshold with the highest F1 per base were chosen {blocks}; all "
        "numbers are of the other bases (the report half)."
    )


def _ranked(controls: Mapping[str, Any]) -> str:
    """The common currency of a feature and its rivals."""
    lag, piece = controls.get("lag"), controls.get("piece")
    cut = f", cut into equal pieces of at most {piece} bases" if piece else ""
    lagged = f" and extended by at most {lag} bases in the direction of reading" if lag else ""
    return (
        f"Features and their rivals were compared by the average precision with which their highest activation ranks "
        f"items (annotated instances{cut}{lagged}) among windows of the same width that touch no item."
    )


def _interval(controls: Mapping[str, Any]) -> str:
    draws, blocks = controls.get("draws"), controls.get("blocks")
    if not draws or not blocks:
        return ""
    return f"Intervals of 95 % are of {draws:,} bootstrap draws of at most {blocks:,} blocks of sequence."


def _chance(controls: Mapping[str, Any], cited: list[str]) -> list[str]:
    """The tests against chance; the works that they rest on are added to `cited`."""
    said = []
    if _competed(controls):
        few = controls.get("few")
        cited.append(BENJAMINI if few else EMERY)
        how = (
            "q-values are p = (1 + decoys that are not lower) / (1 + decoys), adjusted by Benjamini and Hochberg"
            if few
            else "q-values are those of a target-decoy competition"
        )
        said.append(
            f"Each motif of {_origin(controls['motifs'])} competed with up to {controls['decoys']:,} decoys, matrices "
            "with exchanged letters whose sites are as many and as easy to match by a word, by the average precision "
            f"of the best feature; {how}, and a match with q above {MOST_Q:g} counts as chance."
        )
    said.append(
        "Annotations other than motifs were compared with 200 draws of regions of like length, GC, CpG, repeats and "
        f"distance to the next instance, and with 200 circular shifts (q above {MOST_Q:g}, {BENJAMINI}, counts as "
        "chance)."
    )
    if BENJAMINI not in cited:
        cited.append(BENJAMINI)
    return said


def _others(controls: Mapping[str, Any]) -> list[str]:
    """The other tests that were run, and those that were not."""
    said, left = [], []
    if controls.get("repeats"):
        said.append(
            f"Matches were measured apart outside and inside of repeats ({_names(controls['repeats'])}), and count as "
            "repeat if the upper end of the interval outside is below half of the average precision inside."
        )
    else:
        left.append("repeats")
    rivals = ["the best word", "the best dimension of the language model", "a linear probe on 31 letters"]
    trained = controls.get("untrained_on")
    if isinstance(trained, Mapping) and trained.get("models"):
        rivals.append(f"{', '.join(trained['models'])}, each with an SAE of its own")
    elif trained:
        rivals.append(
            f"models with random and with permuted weights and SAEs of their own, trained on {_data(trained)}"
        )
    else:
        left.append("untrained models")
    said.append(f"The rivals are {', '.join(rivals[:-1])} and {rivals[-1]}.")
    if not _competed(controls):
        left.insert(0, "decoy motifs")
    if seeds := controls.get("seeds"):
        others = counted(len(seeds), "SAE of another seed", "SAEs of other seeds")
        said.append(f"The best features of {others} were measured alike.")
    if least := controls.get("least_instances"):
        said.append(f"Concepts with fewer than {least} instances on the report half were not judged (low-power).")
    if left:
        said.append(f"These were not run: {', '.join(left)}.")
    return said


def _competed(controls: Mapping[str, Any]) -> bool:
    """Whether any motif had decoys."""
    return bool((controls.get("matched") or {}).get("motifs"))


def _origin(motifs: Any) -> str:
    return str(motifs.get("release") or motifs.get("file")) if isinstance(motifs, Mapping) else str(motifs)


def _jaspar(motifs: Any) -> str:
    """What to cite for a release of JASPAR, or a file that is called after one; else ""."""
    name = _origin(motifs) if motifs else ""
    if not name.upper().startswith("JASPAR"):
        return ""
    return next((cited for release, cited in JASPAR.items() if release in name), f"the database of {name}")


def _names(repeats: Any) -> str:
    return ", ".join(Path(name).name for name in repeats) if isinstance(repeats, Mapping) else str(repeats)


def _data(trained: Any) -> str:
    if isinstance(trained, Mapping) and trained.get("regions"):
        return ", ".join(map(str, trained["regions"]))
    return "the rows of the SAE"
