"""Custom content for MultiQC: by its documented format, and read by MultiQC itself if it is installed."""

import json
import shutil
import subprocess

import pytest
from command_line import run
from tiny import write_tiny_model

from sae_tracks.report.multiqc import write_multiqc

RECORD = {
    "d_sae": 1000,
    "rows": 50_000,
    "l0": 31.5,
    "fvu": float("nan"),
    "dead": 0.02,
    "complete": True,
    "d_in": 1000,
    "evaluation": {"recovered_mean": 0.91, "trained_bases": 0},
    "yield": {"verdicts": {"supported": 3, "not-tested": 0, "chance": 7}},
}


def read(path):
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_table_and_bars_have_what_multiqc_asks_for(tmp_path):
    table, bars = map(read, write_multiqc(RECORD, tmp_path / "seed1"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed1.sae_mqc.json", "seed1.verdicts_mqc.json"]
    for section in (table, bars):  # https://docs.seqera.io/multiqc/custom_content
        assert {"id", "section_name", "description", "plot_type", "pconfig", "data"} <= set(section)
        assert section["pconfig"]["id"] != section["id"] and list(section["data"]) == ["seed1"]
    assert (table["plot_type"], bars["plot_type"]) == ("table", "bargraph")
    assert table["data"]["seed1"] == {
        "d_sae": 1000,
        "rows": 50_000,
        "l0": 31.5,
        "dead": 0.02,
        "recovered_mean": 0.91,
        "faithful": "no",
    }
    assert set(table["data"]["seed1"]) <= set(table["headers"])
    assert bars["data"]["seed1"] == RECORD["yield"]["verdicts"] and set(bars["categories"]) == set(
        bars["data"]["seed1"]
    )


def test_info_writes_it_beside_what_it_prints(tmp_path):
    write_tiny_model(tmp_path)
    plain, out = run("info", tmp_path / "sae"), run("info", tmp_path / "sae", "--multiqc", tmp_path / "qc" / "a")
    assert out.returncode == 0 and out.stdout == plain.stdout
    assert [path.name for path in (tmp_path / "qc").iterdir()] == ["a.sae_mqc.json"]  # no scores, no verdicts
    assert read(tmp_path / "qc" / "a.sae_mqc.json")["data"]["a"] == {"d_sae": 32, "dead": 0.0, "faithful": "not known"}


@pytest.mark.skipif(not shutil.which("multiqc"), reason="multiqc is not installed")
def test_multiqc_shows_all_saes_in_one_table(tmp_path):
    for name in ("seed1", "seed2"):
        write_multiqc(RECORD, tmp_path / name)
    command = ["multiqc", ".", "-o", "out", "--no-version-check", "--data-format", "json"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    data = json.loads((tmp_path / "out" / "multiqc_data" / "multiqc_data.json").read_text())
    assert {"sae_tracks_sae_table", "sae_tracks_verdicts_plot"} <= set(data["report_plot_data"])
    saved = json.dumps(data["report_saved_raw_data"])
    assert "seed1" in saved and "seed2" in saved
