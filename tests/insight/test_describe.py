"""Lines about features say what the tables say, and no more."""

import json

import pandas as pd
import pytest
from command_line import run
from toy import identity_sae, unit_stats

from sae_tracks.errors import SaeTracksError
from sae_tracks.insight.describe import describe_features, write_description
from sae_tracks.sae import save_sae

MATCHES = [  # concept, tf, strand, feature, f1, verdict, ap, effect, best rival
    ("CDS:3", "", "+", "f0", 0.9, "supported", 0.9, 0.45, "dimension -62"),
    ("CDS", "", "+", "f0", 0.95, "supported", 0.95, 0.06, "dimension -62"),
    ("MA0386.2", "SPT15", "-", "f1", 0.2, "chance", 0.45, -0.04, "k-mer TATATA"),
    ("exon", "", "-", "f2", 0.4, "repeat", 0.3, 0.1, "dimension +1"),
    ("MA0139.1", "CTCF", "+", "f3", 0.6, "supported", 0.7, 0.2, "k-mer CCACC"),
]
MOTIFS = [  # feature, name, name_from, consensus, match, match_tf, match_q, repeat, repeat_share
    ("f1", "", "", "TATAWAW", "MA0386.2", "SPT15", 0.2, "", None),
    ("f2", "Alu 109-125", "repeat", "GGGCGG", "", "", None, "Alu 109-125", 0.8),
    ("f3", "CTCF (MA0139.1)", "motif", "CCACCAGGGGGC", "MA0139.1", "CTCF", 1e-9, "", None),
    ("f4", "", "", "", "", "", None, "", None),
]
INSERTED = [  # concept, tf, strand, feature, auroc, low, high, change
    ("MA0139.1", "CTCF", "+", "f3", 0.99, 0.97, 1.0, 5.0),
    ("MA0139.1", "CTCF", "-", "f3", 0.5, 0.48, 0.52, 0.0),
    ("MA0386.2", "SPT15", "-", "f1", 0.5, 0.45, 0.55, 0.0),
]


def sae():
    made = identity_sae(6)
    made.stats = unit_stats(6)
    made.stats["density"] = [0.2, 0.01, 0.001, 0.5, 0.00012, 0.0]
    return made


@pytest.fixture
def folders(tmp_path):
    for name in ("scores", "motifs", "insertion"):
        (tmp_path / name).mkdir()
    columns = [
        "concept",
        "tf",
        "site_strand",
        "feature",
        "f1",
        "verdict",
        "site_average_precision",
        "effect",
        "best_rival",
    ]
    scores = pd.DataFrame(MATCHES, columns=columns).assign(read_strand="+", site_ap_low=0.1, site_ap_high=0.99)
    columns = ["feature", "name", "name_from", "consensus", "match", "match_tf", "match_q", "repeat", "repeat_share"]
    motifs = pd.DataFrame(MOTIFS, columns=columns).assign(auroc=0.9, auroc_low=0.8, why="")
    motifs.loc[3, "why"] = "9 places on the select half, fewer than 10"
    names = ("auroc", "low", "high", "change")
    columns = ["concept", "tf", "site_strand", "feature", *(f"insertion_{name}" for name in names)]
    tables = {
        "scores/metrics": scores,
        "motifs/motifs": motifs,
        "insertion/insertion": pd.DataFrame(INSERTED, columns=columns),
    }
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
    return [tmp_path / name for name in ("insertion", "scores", "motifs")]


def test_each_line_says_what_is_known(folders):
    table = describe_features(sae(), folders).set_index("feature")
    assert table["line"].tolist() == [
        "CDS:3 +: finds CDS:3 + (supported, AP 0.90, 0.45 above dimension -62), also CDS +; active on 20 % of bases",
        "no name: its best match, SPT15 motif (MA0386.2) - (AP 0.45), is not supported (chance: decoy motifs, or "
        "regions of like composition, match as well); its strongest places share TATAWAW, like no known motif; the "
        "motif of SPT15 (MA0386.2) put into other sequence hardly raises it (AUROC 0.50 (0.45 to 0.55)); active on "
        "1 % of bases",
        "Alu 109-125: its best match, exon - (AP 0.30), is not supported (repeat: the match is weak outside of "
        "repeats); 80 % of its strongest places are in Alu 109-125; active on 0.1 % of bases",
        "CTCF motif (MA0139.1) +: finds CTCF motif (MA0139.1) + (supported, AP 0.70, 0.20 above k-mer CCACC); its "
        "strongest places share CCACCAGGGGGC, like CTCF (MA0139.1) (q 1e-09); the motif of CTCF (MA0139.1) put into "
        "other sequence raises it (AUROC 0.99 (0.97 to 1.00)); active on 50 % of bases",
        "no name: no motif (9 places on the select half, fewer than 10); active on 0.012 % of bases",
        "no name: never active",
    ]
    assert table["name_from"].tolist() == ["metrics", "", "motifs", "metrics", "", ""]
    assert table.loc["f3", ["like_q", "insertion_low", "verdict"]].tolist() == [1e-9, 0.97, "supported"]


def test_a_factor_is_named_only_if_a_test_holds(folders):
    table = describe_features(sae(), folders).set_index("feature")
    assert "SPT15" not in table.loc["f1", "name"]
    assert "CTCF" in table.loc["f3", "name"]


def test_a_match_that_could_be_judged_comes_before_one_with_too_few_sites(folders):
    path = folders[1] / "metrics.tsv"
    scores = pd.read_csv(path, sep="\t")
    few = scores.iloc[[2]].assign(feature="f5", concept="donor", tf="", site_strand="-", verdict="low-power", f1=0.9)
    judged = few.assign(site_strand="+", verdict="dimension", f1=0.4)
    for rows, said in (
        ([few, judged], "donor + (AP 0.45), is not supported (dimension: "),
        ([few], "donor - (AP 0.45)"),
    ):
        pd.concat([scores, *rows]).to_csv(path, sep="\t", index=False)
        table = describe_features(sae(), folders).set_index("feature")
        assert table.loc["f5", "line"].startswith(f"no name: its best match, {said}")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((0.012, 0.01, 0.014), "without it the model loses 0.012 nats per base where it is active (0.01 to 0.014)"),
        (
            (-0.012, -0.014, -0.01),
            "without it the model gains 0.012 nats per base where it is active (-0.014 to -0.01)",
        ),
        ((0.002, -0.001, 0.004), "without it the model predicts as well where it is active (-0.001 to 0.004)"),
        ((0.002, None, None), "without it the model loses 0.002 nats per base where it is active"),
    ],
)
def test_effects_are_said_with_their_interval(folders, tmp_path, numbers, said):
    effects = tmp_path / "effects"
    effects.mkdir()
    columns = ["feature", "read_strand", "concept", "where", "bases", "change", "change_low", "change_high"]
    rows = [("f0", "+", "", "all", 900, 0.5, 0.4, 0.6), ("f0", "+", "", "active", 90, *numbers)]
    pd.DataFrame(rows, columns=columns).to_csv(effects / "effects.tsv", sep="\t", index=False)
    table = describe_features(sae(), [*folders, effects]).set_index("feature")
    assert table.loc["f0", "line"].endswith(f"; {said}; active on 20 % of bases")
    assert table.loc["f0", "ablation"] == numbers[0]
    assert "without" not in table.loc["f1", "line"]


@pytest.mark.parametrize(
    ("correlation", "reciprocal", "replicates", "said"),
    [
        (0.8, True, True, "another SAE has it too (f9, correlation 0.80)"),
        (0.7, False, False, "does not replicate (best correlation 0.70, but that feature is more like another)"),
        (0.5, True, False, "does not replicate (best correlation 0.50)"),
    ],
)
def test_why_a_feature_does_not_replicate(folders, tmp_path, correlation, reciprocal, replicates, said):
    (tmp_path / "compare").mkdir()
    row = {"partner": "f9", "correlation": correlation, "reciprocal": reciprocal, "replicates": replicates}
    rows = pd.DataFrame({"feature": ["f0"], **row})
    rows.to_csv(tmp_path / "compare" / "compare.tsv", sep="\t", index=False)
    table = describe_features(sae(), [*folders, tmp_path / "compare"]).set_index("feature")
    assert f"; {said}; active" in table.loc["f0", "line"]


def test_json_holds_what_is_known_alone(folders, tmp_path):
    table = describe_features(sae(), folders)
    write_description(table, tmp_path / "out")
    records = json.loads((tmp_path / "out" / "describe.json").read_text())
    assert [record["feature"] for record in records] == [f"f{i}" for i in range(6)]
    assert records[5] == {"feature": "f5", "name": "no name", "line": "no name: never active", "density": 0.0}
    assert "like_q" not in records[0]
    read = pd.read_csv(tmp_path / "out" / "describe.tsv", sep="\t", keep_default_na=False)
    assert read["line"].tolist() == table["line"].tolist()


def test_the_verb_prints_lines_and_writes_on_request(folders, tmp_path):
    save_sae(sae(), tmp_path / "sae")
    result = run("describe", tmp_path / "sae", *folders, "-f", "0,5")
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["f0", "f5"]
    assert "3 of 6 features have a name" in result.stderr
    assert not list(tmp_path.glob("*/describe.*"))
    run("describe", tmp_path / "sae", *folders, "-o", tmp_path / "scores")
    assert (tmp_path / "scores" / "describe.provenance.json").is_file()


def test_bad_folders_are_refused(folders, tmp_path):
    with pytest.raises(SaeTracksError, match=r"has nothing to describe features with: none of metrics.tsv, motifs.tsv"):
        describe_features(sae(), [tmp_path])
    with pytest.raises(SaeTracksError, match=r"two folders have metrics.tsv"):
        describe_features(sae(), [*folders, folders[1]])
    with pytest.raises(SaeTracksError, match=r"metrics.tsv has f\d, which this SAE does not have"):
        describe_features(identity_sae(2), [folders[1]])
    (folders[1] / "provenance.json").write_text('{"sae_sha256": "0123456789abcdef"}')
    with pytest.raises(SaeTracksError, match=r"metrics.tsv is of another SAE \(0123456789ab, not "):
        describe_features(sae(), [folders[1]])


def test_a_motif_that_is_like_a_known_one_names_no_feature(folders):
    scores = pd.read_csv(folders[1] / "metrics.tsv", sep="\t")
    scores.loc[scores["feature"] == "f3", "verdict"] = "context"
    scores.to_csv(folders[1] / "metrics.tsv", sep="\t", index=False)
    table = describe_features(sae(), folders).set_index("feature")
    assert table.loc["f3", "name"] == "no name"
    assert "like CTCF (MA0139.1) (q 1e-09)" in table.loc["f3", "line"]
