"""The methods paragraph says what the provenance records, and nothing that was not run."""

import pytest

from sae_tracks.controls.methods import methods_paragraph

CONTROLS = {
    "motifs": {"release": "JASPAR2024"},
    "decoys": 199,
    "matched": {"motifs": 3},
    "few": True,
    "repeats": {"/data/rmsk.bed": "ab"},
    "seeds": ["cd", "ef"],
    "untrained_on": {"data_sha256": "01", "elsewhere": False},
    "lag": 10,
    "piece": 64,
    "blocks": 256,
    "draws": 1000,
    "least_instances": 50,
}
FACTS = {
    "sae_tracks": "0.1.0",
    "lm": {"model": "me/lm", "revision": "abc", "layer": 3},
    "sae_sha256": "ab" * 32,
    "genome": {"path": "/data/hg38.fa"},
    "annotations": {"/data/sites.bed": "c"},
    "split": True,
    "controls": CONTROLS,
}


def paragraph(**changes):
    return methods_paragraph(FACTS | {"controls": CONTROLS | changes})


def test_every_fact_is_said_and_no_folder():
    said = paragraph()
    for fact in (
        *("sae-tracks 0.1.0", "me/lm (revision abc) after block 3", "abababab", "hg38.fa", "sites.bed", "rmsk.bed"),
        *(
            "at most 64 bases",
            "at most 10 bases",
            "1,000 bootstrap draws of at most 256 blocks",
            "199 decoys",
            "JASPAR2024",
        ),
        *("q above 0.05", "fewer than 50 instances", "2 SAEs of other seeds", "arXiv 2507.07486", "Rauluseviciute"),
    ):
        assert fact in said
    assert "/data" not in said and "\n" not in said and "None" not in said
    assert "were not run" not in said


def test_the_q_values_are_named_by_the_number_of_motifs():
    assert "Benjamini and Hochberg" in paragraph() and "Emery" not in paragraph()
    many = paragraph(few=False, decoys=5)
    assert "target-decoy competition" in many and "Emery" in many and "up to 5 decoys" in many


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"motifs": None, "decoys": None, "matched": None}, "decoy motifs"),
        ({"matched": {"motifs": 0}}, "decoy motifs"),
        ({"repeats": None}, "repeats"),
        ({"untrained_on": None}, "untrained models"),
        ({"matched": None, "repeats": None, "untrained_on": None}, "decoy motifs, repeats, untrained models"),
    ],
)
def test_what_was_not_run_is_said(changes, left):
    assert f"These were not run: {left}." in paragraph(**changes)


def test_jaspar_is_cited_only_if_it_was_used():
    assert "JASPAR" not in paragraph(motifs={"file": "mine.pfm", "sha256": "ab"})
    assert "Rauluseviciute" not in paragraph(motifs={"release": "JASPAR2022"})
    assert "Castro-Mondragon" in paragraph(motifs={"file": "JASPAR2022_vertebrates.pfm.gz", "sha256": "ab"})
    assert "the database of JASPAR2020" in paragraph(motifs={"release": "JASPAR2020"})


def test_a_model_that_reads_both_ways_has_no_lag():
    assert "direction of reading" not in paragraph(lag=0)


def test_untrained_dictionaries_of_given_regions_name_them():
    assert "trained on chr1:1-100, chr2" in paragraph(
        untrained_on={"regions": ["chr1:1-100", "chr2"], "elsewhere": True}
    )


def test_untrained_models_that_were_given_are_named():
    said = paragraph(untrained_on={"models": ["me/lm (random weights, seed 0)"]})
    assert "and me/lm (random weights, seed 0), each with an SAE of its own" in said and "were not run" not in said


def test_without_controls_it_says_why():
    said = methods_paragraph(FACTS | {"controls": {"not_run": "--controls none"}})
    assert "No control tests were run (--controls none), so every verdict is not-tested." in said
    assert "decoys" not in said and "2507.07486" in said
    assert "no record of them" in methods_paragraph({"sae_tracks": "0.1.0"})


def test_halves_are_named_as_they_were_chosen():
    assert "alternate blocks" in methods_paragraph(FACTS)
    assert "separate, named regions" in methods_paragraph(FACTS | {"select_on": ["chr1"]})
    assert "same bases" in methods_paragraph(FACTS | {"split": False})
