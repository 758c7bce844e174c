"""The model card of an SAE: what it is, how good it is, what was found with it, and what that does not show."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pandas as pd
from huggingface_hub import ModelCardData

from sae_tracks.controls.methods import methods_paragraph
from sae_tracks.controls.verdict import LOW_POWER, NOT_TESTED, OUTCOMES, SUPPORTED, is_motif
from sae_tracks.evaluate.info import Record, faithful_in_a_word, report_lines
from sae_tracks.names import BUNDLED, counted, motif_label
from sae_tracks.sae.hub import HUB_ID, PREFIX

TAGS = ["sparse-autoencoder", "sae-lens", "interpretability", "genomics", "dna", "sae-tracks"]
PAPER = "https://arxiv.org/abs/2507.07486"
LOW_AP = 0.5
SHOWN = 20  # supported matches
PLACEHOLDER = "OWNER/NAME"
FILES = {
    "cfg.json, sae_weights.safetensors": "the SAE, as SAELens and sae-tracks open it",
    "feature_stats.parquet": "maximum, mean and density of every feature",
    "evaluation.json": "how well the model predicts through the SAE",
    "metrics/": "the best match of every concept with its control tests, and how they were made",
    "hub/": "tracks of features for the UCSC Genome Browser (hub.txt)",
    "report/": "the scores as one page, which opens without a network",
    "provenance.json": "how the SAE was made",
    "SHA256SUMS": "checksums of all files: sha256sum -c SHA256SUMS",
}


def model_card(
    record: Record,
    table: pd.DataFrame | None,
    facts: Mapping[str, Any],
    *,
    to: str | None,
    license_id: str | None,
    files: Sequence[str],
) -> str:
    """Return a model card with YAML front matter, as the hub reads it.

    Parameters
    ----------
    record : dict
        From `sae_record`, with its ``yield`` if there are scores.
    table : DataFrame, optional
        The rows of ``metrics.tsv``.
    facts : mapping
        The provenance of the scores; empty without them.
    to : str, optional
        Id of the repository.
    license_id : str, optional
        The hub's name of a licence.
    files : sequence of str
        Keys of `FILES` that are there.

    Returns
    -------
    str
        Markdown. Text that comes from files is escaped.
    """
    lm = record["lm"]
    model = str(lm.get("model") or "an unnamed language model")
    place = f"layer {lm['layer']}" if lm.get("layer") is not None else _code(lm.get("hook_name"))
    data = ModelCardData(
        license=license_id,
        library_name="sae-tracks",
        base_model=model if HUB_ID.fullmatch(model) else None,
        tags=TAGS,
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# SAE with {record['d_sae']:,} features on {place} of {_text(model)}",
        "A sparse autoencoder (SAE) of a gene language model. It splits the activations of the model at every base of "
        "a genome into features, most of which are 0 at a base. Made and tested with sae-tracks.",
        _section("The SAE", _bullets(_described(record, model))),
        _section("How to load it", _loading(to or PLACEHOLDER)),
        _section("Quality", _quality(record)),
        _section("What its features match", _matches(record, table)),
        _section("What this does not show", _bullets(_limits(record, table, facts))),
        _section("Files", _bullets(f"`{name}`: {FILES[name]}" for name in files)),
    ]
    if facts:
        parts.append(_section("How it was scored", _text(methods_paragraph(facts))))
    parts.append(_section("How to cite it", _citation(record, to or PLACEHOLDER)))
    return "\n\n".join(parts) + "\n"


def _section(heading: str, text: str) -> str:
    return f"## {heading}\n{text}"


def _bullets(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(value: object) -> str:
    """Text of a file in Markdown: nothing in it begins a link, a tag, a row or code."""
    text = " ".join(str(value).split())
    for letter in "\\`*_[]<>|#":
        text = text.replace(letter, f"\\{letter}")
    return text


def _code(value: object) -> str:
    return f"`{' '.join(str(value).split()).replace('`', '')}`"


def _described(record: Record, model: str) -> Iterator[str]:
    lm, settings = record["lm"], record["settings"]
    revision = f", revision {_code(lm['revision'])}" if lm.get("revision") else ""
    weights = f", SHA-256 of its weights {_code(lm['weights_sha256'])}" if lm.get("weights_sha256") else ""
    bundled = ", which comes with sae-tracks" if model in BUNDLED else ""
    yield f"Language model: {_code(model)}{bundled}{revision}{weights}"
    if not (HUB_ID.fullmatch(model) or model in BUNDLED):
        yield "This model is no repository of the hub. To read a genome, name your copy of it (`--model`)."
    if lm.get("hook_name"):
        yield f"Read at the output of {_code(lm['hook_name'])}"
    k = f", at most {record['k']} active per base" if record["k"] else ""
    yield f"Architecture: {record['architecture']}, {record['d_in']:,} dimensions to {record['d_sae']:,} features{k}"
    if record["genome"]:
        strands = " and ".join(record["read_strands"] or [])
        rows = f", {record['rows']:,} rows" if record["rows"] else ""
        yield f"Trained on {_text(', '.join(record['genome']))}{rows}, read strand {strands or 'unknown'}"
    if settings:
        yield "Settings: " + ", ".join(f"{_text(name)} {_text(value)}" for name, value in settings.items())
    yield f"SHA-256 of `sae_weights.safetensors`: {_code(record['checksum'])}"


def _loading(to: str) -> str:
    return (
        f'```python\nfrom sae_tracks import load_sae\n\nsae = load_sae("{PREFIX}{to}@REVISION")  # a commit, tag or '
        "branch\n```\n```python\nfrom huggingface_hub import snapshot_download\nfrom sae_lens import SAE\n\n"
        f'sae = SAE.load_from_disk(snapshot_download("{to}", revision="REVISION"))\n```'
    )


def _quality(record: Record) -> str:
    """The lines of `info` that measure, as a table."""
    named = {line[:16].strip(): line[16:] for line in report_lines(record)}
    rows = {name: named[name] for name in ("training rows", "evaluated", "recovered", "dead") if name in named}
    if record["evaluation"] is None:
        rows["recovered"] = "not measured"
    reasons = f": {'; '.join(record['reasons'])}" if record["reasons"] else ""
    rows["faithful to its language model"] = f"{faithful_in_a_word(record)}{reasons}"
    lines = [f"| {name} | {_text(text)} |" for name, text in rows.items()]
    return "\n".join(["| measure | value |", "|---|---|", *lines])


def _matches(record: Record, table: pd.DataFrame | None) -> str:
    found = record["yield"]
    if found is None or table is None:
        return "No scores were published with it, so nothing is said here of what its features mean."
    lines = [
        f"| {name} | {count:,} | {found['per_thousand'][name]:.3g} | {_text(OUTCOMES[name])} |"
        for name, count in found["verdicts"].items()
        if count
    ]
    head = [
        f"Best match of each of {found['concepts']:,} concepts among {found['features']:,} features, by verdict:\n",
        "| verdict | concepts | per 1,000 features | meaning |",
        "|---|---|---|---|",
    ]
    rows = cast(pd.DataFrame, table[table["verdict"] == SUPPORTED])
    best = [
        _match(row) for row in rows.sort_values("f1", ascending=False, kind="stable").head(SHOWN).to_dict("records")
    ]
    listed = (
        ["", f"Supported matches{f', the first {SHOWN}' if len(rows) > SHOWN else ''}:\n", *_headed(best)]
        if best
        else []
    )
    return "\n".join([*head, *lines, *listed])


def _headed(rows: Sequence[str]) -> list[str]:
    return ["| feature | concept | strand | F1 | average precision |", "|---|---|---|---|---|", *rows]


def _match(row: Mapping[Any, Any]) -> str:
    name = motif_label(row["tf"], row["concept"]) if row["tf"] else row["concept"]
    ap = row["site_average_precision"]
    return f"| {_text(row['feature'])} | {_text(name)} | {_text(row['site_strand'])} | {row['f1']:.2f} | {ap:.2f} |"


def _limits(record: Record, table: pd.DataFrame | None, facts: Mapping[str, Any]) -> Iterator[str]:
    """What a reader could take for shown and is not."""
    if table is None:
        yield "What any feature means: no scores were published."
    else:
        yield from _limits_of_scores(table, facts)
    evaluation = record["evaluation"]
    if evaluation is None:
        yield "How well the model predicts through the SAE: it was not measured."
    elif evaluation["trained_bases"] is None:
        yield "Reconstruction on unseen sequence: it is not known whether the SAE was trained on the bases evaluated."
    elif evaluation["trained_bases"]:
        seen = f"{evaluation['trained_bases']:,} of the bases evaluated were trained on"
        yield f"Reconstruction on unseen sequence: {seen}."
    yield "That another SAE would find the same features: an SAE of another seed finds partly other ones."
    yield "That the model uses a feature. A match is a correlation along the sequence."
    yield "Anything about other species, assemblies or individuals, or for clinical use."


def _limits_of_scores(table: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[str]:
    rows = cast(pd.DataFrame, table[table["verdict"] == SUPPORTED])
    low = (rows["site_average_precision"].to_numpy(float) < LOW_AP).sum() if len(rows) else 0
    if low:
        yield (
            f"That a supported feature detects its concept: {low} of {len(rows)} supported matches have an average "
            f"precision below {LOW_AP:g}. Supported means that the match is more than the tests can explain away."
        )
    verdicts = table["verdict"].tolist()
    if untested := verdicts.count(NOT_TESTED):
        yield f"Anything about {counted(untested, 'match', 'matches')} on which not all tests were run (`not-tested`)."
    if few := verdicts.count(LOW_POWER):
        matches = counted(few, "match has", "matches have")
        yield f"That a concept is absent: {matches} too few sites to judge (`low-power`)."
    if is_motif(table).any():
        yield "Binding of a factor: motif sites are places where a matrix scores well."
    if regions := facts.get("regions"):
        more = f" and {len(regions) - 3} more regions" if len(regions) > 3 else ""
        yield f"Anything outside the bases scored ({_text(', '.join(regions[:3]))}{more}, half of them to choose)."


def _citation(record: Record, to: str) -> str:
    return (
        f"Name the commit, not only the repository: `{PREFIX}{to}@COMMIT`, and the SHA-256 of the weights, "
        f"`{record['checksum'][:12]}`. The method is that of [Guan, He and Zhang 2025]({PAPER})."
    )
