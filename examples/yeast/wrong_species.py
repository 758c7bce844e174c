"""The yeast demo with a model of another species: what does an SAE find that needs no yeast model?

    python examples/yeast/wrong_species.py demo OUT

An SAE of the bundled human model is trained on chrXIII of yeast and judged on chrXVI, as the demo does with the yeast
model: as many activations, the same controls. A model's windows are as long as it can read. Prints a table in Markdown.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from sae_tracks.controls.opened import ControlSettings
from sae_tracks.controls.score import score
from sae_tracks.demo.learn import Learning, learn
from sae_tracks.demo.yeast import DECOYS, LEARNING, SCORE_ON, UNTRAINED, prepare, supported
from sae_tracks.genome import Genome
from sae_tracks.lm import GeneLM, load_lm
from sae_tracks.lm.untrained import Kind, check_can_be_untrained
from sae_tracks.regions import GenomicRegion
from sae_tracks.source import Source

WINDOW, CONTEXT = 512, 128  # of the demo: a quarter of a window is context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="as for --lm; a model that can be made untrained")
    parser.add_argument("out", type=Path)
    parser.add_argument("--layer", type=int, default=3)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    inputs = prepare(options.out)
    lm = load_lm(options.model, layer=options.layer, device="cpu")
    source = learn_source(lm, inputs.genome, options.out)
    offers = check_can_be_untrained(lm)
    untrained: list[tuple[Kind, Source]] = [
        (kind, learn_source(offers.untrained(kind, 0), inputs.genome, options.out / "untrained" / kind))
        for kind in UNTRAINED
    ]
    controls = ControlSettings(
        motifs=str(inputs.motifs), decoys=DECOYS, repeats=str(inputs.repeats), untrained=untrained
    )
    annotations = [inputs.genes, inputs.elements, inputs.sites]
    table = score(source, annotations, options.out / "metrics", controls=controls).table
    print(table["verdict"].value_counts().to_string())
    print("| concept | strand | feature | F1 | average precision (95 %) | best rival | effect |")
    print("|---|---|---|---|---|---|---|")
    for row in supported(table).to_dict("records"):
        interval = f"{row['site_average_precision']:.2f} ({row['site_ap_low']:.2f} to {row['site_ap_high']:.2f})"
        rival = f"{row['best_rival']} | {row['effect']:+.2f}"
        print(
            f"| {row['concept']} | {row['site_strand']} | {row['feature']} | {row['f1']:.2f} | {interval} | {rival} |"
        )


def learn_source(lm: GeneLM, genome: Genome, out: Path) -> Source:
    """Train an SAE on as many activations as the demo does, and read the other chromosome with it."""
    how = fitted(LEARNING, lm.max_length)
    whole = GenomicRegion(SCORE_ON, 0, genome.lengths[SCORE_ON])
    return Source(lm, learn(lm, genome, how, out, 0), genome, [whole], context=how.context)


def fitted(how: Learning, longest: int) -> Learning:
    """The demo's settings for windows of another length."""
    return replace(how, windows=how.windows * WINDOW // longest, context=CONTEXT * longest // WINDOW)


if __name__ == "__main__":
    main()
