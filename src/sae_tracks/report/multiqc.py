"""SAEs in a MultiQC report: custom content, which MultiQC reads without a plug-in."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_tracks.evaluate.info import faithful_in_a_word
from sae_tracks.files import write_json
from sae_tracks.report.genome_figure import verdict_colours

SITE = "https://arxiv.org/abs/2507.07486"
PARENT = {
    "parent_id": "sae_tracks",
    "parent_name": "sae-tracks",
    "parent_description": "Sparse autoencoders (SAEs) of gene language models. The method is that of "
    f"<a href='{SITE}'>Guan, He and Zhang 2025</a>.",
}
SHARE = {"min": 0, "max": 1, "format": "{:,.3f}"}
COLUMNS = {  # of the table: how MultiQC shows each
    "d_sae": {"title": "Features", "description": "Number of features of the SAE", "format": "{:,d}"},
    "rows": {"title": "Rows", "description": "Rows that it was trained on", "format": "{:,d}"},
    "l0": {"title": "L0", "description": "Mean number of active features per base", "format": "{:,.1f}"},
    "fvu": {"title": "FVU", "description": "Fraction of variance that is not reconstructed", **SHARE},
    "dead": {"title": "Dead", "description": "Share of features that are never active", **SHARE},
    "recovered_mean": {
        "title": "Recovered",
        "description": "Share of what the model loses with mean activations that the SAE recovers (evaluate)",
        **SHARE,
    },
    "faithful": {"title": "Faithful", "description": "Whether the SAE reconstructs well enough to stand for the model"},
}


def write_multiqc(record: Mapping[str, Any], prefix: str | Path) -> list[Path]:
    """Write what is known of an SAE as custom content of MultiQC.

    Files of several SAEs give one table and one figure, with a row and a bar for each.

    Parameters
    ----------
    record : mapping
        From `sae_tracks.evaluate.info.sae_record`.
    prefix : path
        Begins the names of the files. Its last part is the name of the sample in the report.

    Returns
    -------
    list of Path
        ``PREFIX.sae_mqc.json`` and, if the record has the verdicts of scores, ``PREFIX.verdicts_mqc.json``.
    """
    sample = Path(prefix).name
    sections = {"sae": _table(record, sample)}
    if found := record["yield"]:
        sections["verdicts"] = _bars(found["verdicts"], sample)
    paths = [Path(prefix).with_name(f"{sample}.{name}_mqc.json") for name in sections]
    for path, section in zip(paths, sections.values(), strict=True):
        write_json(path, section)
    return paths


def _table(record: Mapping[str, Any], sample: str) -> dict[str, Any]:
    values = {name: record.get(name) for name in COLUMNS}
    values["recovered_mean"] = (record.get("evaluation") or {}).get("recovered_mean")
    values["faithful"] = faithful_in_a_word(record)
    return {
        "id": "sae_tracks_sae",
        **PARENT,
        "section_name": "Reconstruction",
        "description": "How well each SAE reconstructs the activations of its language model.",
        "plot_type": "table",
        "pconfig": {"id": "sae_tracks_sae_table", "title": "sae-tracks: reconstruction", "col1_header": "SAE"},
        "headers": COLUMNS,
        "data": {sample: {name: value for name, value in values.items() if _known(value)}},
    }


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _bars(verdicts: Mapping[str, int], sample: str) -> dict[str, Any]:
    colours = verdict_colours()
    return {
        "id": "sae_tracks_verdicts",
        **PARENT,
        "section_name": "Verdicts",
        "description": "Concepts by the verdict of their best feature: supported, or the first other explanation that "
        "the control tests could not rule out.",
        "plot_type": "bargraph",
        "pconfig": {"id": "sae_tracks_verdicts_plot", "title": "sae-tracks: verdicts", "ylab": "Concepts"},
        "categories": {name: {"name": name, "color": colours[name]} for name in verdicts},
        "data": {sample: dict(verdicts)},
    }
