"""One line per feature in plain words, from evidence alone.

What other verbs have found lies in their tables. Each table gives a feature some facts, which are columns, and at most
one clause of its line. A name needs a test that holds; without one, a feature has no name.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from sae_tracks.controls.verdict import INSERTED, LOW_POWER, OUTCOMES, SUPPORTED, TEXTS
from sae_tracks.errors import SaeTracksError
from sae_tracks.files import PROVENANCE, atomic, make_folder, write_provenance, write_tsv
from sae_tracks.insight.meaning import check_origin, find_files
from sae_tracks.metrics.scores import is_true, read_table
from sae_tracks.names import DESCRIBED, NO_NAME, feature_name, motif_label
from sae_tracks.sae.model import SAE

MOST_Q = 0.05
WHERE = ("repeat", "concept")  # what `motifs` may name a feature by
ALSO = 3  # further concepts that a line lists

Rows = pd.DataFrame  # of one feature
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A table of another verb, and what it says of a feature."""

    table: str  # file name
    verb: str
    facts: Callable[[Rows], Facts]  # from the rows of one feature; no value that is not measured
    clause: Callable[[Facts], str]  # from these facts; "" if they say nothing
    name: Callable[[Facts], str] = lambda facts: ""  # "" if no test holds


def describe_features(sae: SAE, folders: Iterable[str | Path]) -> pd.DataFrame:
    """Describe every feature of an SAE.

    Parameters
    ----------
    sae : SAE
        Its feature statistics say how often a feature is active.
    folders : iterable of path
        What other verbs wrote about this SAE: folders with the tables of `EVIDENCE`, in any order.

    Returns
    -------
    DataFrame
        One row per feature: ``feature``, ``name`` (``no name`` if no test gives one), ``name_from`` (the verb),
        ``line`` (one sentence), and the facts, each in a column; see docs/formats.md.

    Raises
    ------
    SaeTracksError
        A folder has none of the tables, two have the same one, or a table cannot be read or is of another SAE.
    """
    tables = find_tables(folders)
    grouped = {}
    for evidence in EVIDENCE:
        if evidence.table in tables:
            check_origin(tables[evidence.table], sae.checksum)
            table = read_table(tables[evidence.table], (*TEXTS, *TEXT_COLUMNS))
            if unknown := set(table["feature"]) - set(map(feature_name, range(sae.d_sae))):
                raise SaeTracksError(f"{tables[evidence.table]} has {min(unknown)}, which this SAE does not have")
            grouped[evidence] = dict(list(table.groupby("feature", sort=False)))
    stats = sae.stats
    rows = []
    for number in range(sae.d_sae):
        feature = feature_name(number)
        density = float(stats["density"].iloc[number]) if stats is not None else np.nan
        rows.append({"feature": feature, **_describe(feature, density, grouped)})
    return pd.DataFrame(rows)


def find_tables(folders: Iterable[str | Path]) -> dict[str, Path]:
    """The tables of evidence in folders, by file name."""
    names = [evidence.table for evidence in EVIDENCE]
    return find_files(folders, names, "has nothing to describe features with: none of")


def _describe(feature: str, density: float, grouped: Mapping[Evidence, Mapping[str, Rows]]) -> Facts:
    name, name_from, clauses, facts = NO_NAME, "", [], {"density": density}
    for evidence, by_feature in grouped.items():
        if feature not in by_feature:
            continue
        found = evidence.facts(by_feature[feature])
        facts |= found
        if name == NO_NAME and (given := evidence.name(found)):
            name, name_from = given, evidence.verb
        clauses.append(evidence.clause(found))
    clauses.append(_often(density))
    said = "; ".join(filter(None, clauses))
    return {"name": name, "name_from": name_from, "line": f"{name}: {said}" if said else name, **facts}


def _often(density: float) -> str:
    if np.isnan(density):
        return ""
    return f"active on {_percent(density)} of bases" if density > 0 else "never active"


# what `metrics` says


def _match_facts(rows: Rows) -> Facts:
    """The best supported match, else the best one that could be judged, else the best; and all that are supported."""
    supported = cast(pd.DataFrame, rows[rows["verdict"] == SUPPORTED])
    judged = cast(pd.DataFrame, rows[rows["verdict"] != LOW_POWER])
    order = "effect" if "effect" in rows and len(supported) else "f1"
    some = next(part for part in (supported, judged, rows) if len(part))
    best = some.sort_values(order, ascending=False, kind="stable").iloc[0]
    names = [_concept(row) for row in supported.sort_values(order, ascending=False).to_dict("records")]
    facts = {
        "concept": best["concept"],
        "tf": best.get("tf", ""),
        "site_strand": best["site_strand"],
        "read_strand": best["read_strand"],
        "verdict": best["verdict"],
        "f1": best["f1"],
        "supported": "; ".join(names),
    }
    columns = {"ap": "site_average_precision", "ap_low": "site_ap_low", "ap_high": "site_ap_high"}
    columns |= {"effect": "effect", "best_rival": "best_rival", "repeat_class": "repeat_class"}
    return facts | {name: best[column] for name, column in columns.items() if column in rows}


def _concept(row: Mapping[str, Any]) -> str:
    strand = f" {row['site_strand']}" if row["site_strand"] in ("+", "-") else ""
    return f"{row['tf']} motif ({row['concept']}){strand}" if row.get("tf") else f"{row['concept']}{strand}"


def _match_clause(facts: Facts) -> str:
    names = [name for name in facts["supported"].split("; ") if name]
    if names:
        above = f", {facts['effect']:.2f} above {facts['best_rival']}" if facts.get("best_rival") else ""
        also = f", also {', '.join(names[1 : ALSO + 1])}" if len(names) > 1 else ""
        more = f" and {len(names) - ALSO - 1} more" if len(names) > ALSO + 1 else ""
        return f"finds {names[0]} (supported, AP {facts['ap']:.2f}{above}){also}{more}"
    score = f"AP {facts['ap']:.2f}" if _known(facts, "ap") else f"F1 {facts['f1']:.2f}"
    why = f"{facts['verdict']}: {OUTCOMES[facts['verdict']]}"
    return f"its best match, {_concept(facts)} ({score}), is not supported ({why})"


def _match_name(facts: Facts) -> str:
    return facts["supported"].split("; ")[0]


# what `motifs` says


def _motif_facts(rows: Rows) -> Facts:
    row = rows.iloc[0]
    columns = {"shape": "name", "shape_from": "name_from", "consensus": "consensus", "motif_auroc": "auroc"}
    columns |= {"motif_auroc_low": "auroc_low", "like": "match", "like_tf": "match_tf", "like_q": "match_q"}
    columns |= {
        "no_motif": "why",
        "repeat": "repeat",
        "repeat_share": "repeat_share",
        "place": "concept",
        "place_share": "concept_share",
    }
    return {name: row[column] for name, column in columns.items() if column in rows}


def _motif_clause(facts: Facts) -> str:
    origin = facts["shape_from"]
    if origin in WHERE:
        share = facts["repeat_share" if origin == "repeat" else "place_share"]
        return f"{_percent(share)} of its strongest places are in {facts['shape']}"
    if not facts.get("consensus"):
        return f"no motif ({facts['no_motif']})" if facts.get("no_motif") else ""
    like = f", like {facts['shape']} (q {facts['like_q']:.1g})" if origin == "motif" else ""
    unlike = ", like no known motif" if facts.get("like") and not like else ""
    return f"its strongest places share {facts['consensus']}{like}{unlike}"


def _motif_name(facts: Facts) -> str:
    """A place in a repeat or in genes. Likeness to a known motif is no match with its sites, so it gives no name."""
    return facts["shape"] if facts["shape_from"] in WHERE else ""


# what `insert`, `effects` and `compare` say


def _insertion_facts(rows: Rows) -> Facts:
    best = rows.sort_values("insertion_auroc", ascending=False, kind="stable").iloc[0]
    columns = ("insertion_auroc", "insertion_low", "insertion_high", "insertion_change")
    return {"inserted": best["concept"], "inserted_tf": best["tf"], **{name: best[name] for name in columns}}


def _insertion_clause(facts: Facts) -> str:
    if not _known(facts, "insertion_auroc"):
        return ""
    what = motif_label(facts["inserted_tf"], facts["inserted"])
    interval = f"AUROC {facts['insertion_auroc']:.2f} ({facts['insertion_low']:.2f} to {facts['insertion_high']:.2f})"
    sure = "hardly raises it" if facts["insertion_high"] <= INSERTED else "may raise it"
    does = "raises it" if facts["insertion_low"] > INSERTED else sure
    return f"the motif of {what} put into other sequence {does} ({interval})"


def _effect_facts(rows: Rows) -> Facts:
    """The effect where the feature is active: of the loss, or of a plug-in's outputs."""
    active = cast(pd.DataFrame, rows[rows["where"] == "active"])
    of_loss = "change" in rows and np.isfinite(active["change"].to_numpy(np.float64)).any()
    measure = "change" if of_loss else "kl"
    if measure not in rows or active.empty:
        return {}
    best = active.sort_values("bases", ascending=False, kind="stable").iloc[0]
    ends = {f"ablation_{end}": best[f"{measure}_{end}"] for end in ("low", "high")}
    return {"ablation": best[measure], **ends, "ablation_of": "loss" if measure == "change" else "outputs"}


def _effect_clause(facts: Facts) -> str:
    if not _known(facts, "ablation"):
        return ""
    known = _known(facts, "ablation_low")
    interval = f" ({facts['ablation_low']:.2g} to {facts['ablation_high']:.2g})" if known else ""
    if facts["ablation_of"] == "outputs":
        by = f"{facts['ablation']:.2g} nats per base where it is active{interval}"
        return f"without it the model's outputs change by {by}"
    if known and facts["ablation_low"] <= 0 <= facts["ablation_high"]:
        return f"without it the model predicts as well where it is active{interval}"
    verb = "loses" if facts["ablation"] > 0 else "gains"
    return f"without it the model {verb} {abs(facts['ablation']):.2g} nats per base where it is active{interval}"


def _partner_facts(rows: Rows) -> Facts:
    row = rows.iloc[0]
    return {name: row[name] for name in ("partner", "correlation", "reciprocal", "replicates") if name in rows}


def _partner_clause(facts: Facts) -> str:
    if is_true(facts.get("replicates")):
        return f"another SAE has it too ({facts['partner']}, correlation {facts['correlation']:.2f})"
    if not _known(facts, "correlation"):
        return ""
    other = (
        ", but that feature is more like another" if "reciprocal" in facts and not is_true(facts["reciprocal"]) else ""
    )
    return f"does not replicate (best correlation {facts['correlation']:.2f}{other})"


def _known(facts: Facts, name: str) -> bool:
    return name in facts and not pd.isna(facts[name])


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


TEXT_COLUMNS = (
    "name",
    "name_from",
    "why",
    "consensus",
    "match",
    "match_tf",
    "match_strand",
    "more_matches",
    "repeat",
    "partner",
)
EVIDENCE = (
    Evidence("metrics.tsv", "metrics", _match_facts, _match_clause, _match_name),
    Evidence("motifs.tsv", "motifs", _motif_facts, _motif_clause, _motif_name),
    Evidence("insertion.tsv", "insert", _insertion_facts, _insertion_clause),
    Evidence("effects.tsv", "effects", _effect_facts, _effect_clause),
    Evidence("compare.tsv", "compare", _partner_facts, _partner_clause),
)


def write_description(table: pd.DataFrame, out: Path, **facts: Any) -> None:
    """Write ``describe.tsv``, and ``describe.json`` with one object per feature that holds what is known alone."""
    make_folder(out)
    write_tsv(table, out / DESCRIBED)
    records = [{key: value for key, value in row.items() if not _empty(value)} for row in table.to_dict("records")]
    with atomic((out / DESCRIBED).with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(records, indent=1, default=float) + "\n")
    write_provenance(out, file_name=f"{Path(DESCRIBED).stem}.{PROVENANCE}", **facts)


def _empty(value: Any) -> bool:
    return value == "" or (isinstance(value, float) and np.isnan(value))
