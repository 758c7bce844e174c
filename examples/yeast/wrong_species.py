"""The yeast demo with a model of another species: what does an SAE find that needs no yeast model?

    python examples/yeast/wrong_species.py demo OUT

An SAE of the bundled human model is trained on chrXIII of yeast and judged on chrXVI, as the demo does with the yeast
model: as many activations, the same controls. A model's windows are as long as it can read. Prints a table in Markdown.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from sae_tracks.demo.learn import Learning
from sae_tracks.demo.yeast import LEARNING, judge, prepare, supported
from sae_tracks.lm import load_lm

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
    _, table = judge(lm, inputs, fitted(LEARNING, lm.max_length), options.out, seed=0)
    print(table["verdict"].value_counts().to_string())
    print("| concept | strand | feature | F1 | average precision (95 %) | best rival | effect |")
    print("|---|---|---|---|---|---|---|")
    for row in supported(table).to_dict("records"):
        interval = f"{row['site_average_precision']:.2f} ({row['site_ap_low']:.2f} to {row['site_ap_high']:.2f})"
        rival = f"{row['best_rival']} | {row['effect']:+.2f}"
        print(
            f"| {row['concept']} | {row['site_strand']} | {row['feature']} | {row['f1']:.2f} | {interval} | {rival} |"
        )


def fitted(how: Learning, longest: int) -> Learning:
    """The demo's settings for windows of another length."""
    return replace(how, windows=how.windows * WINDOW // longest, context=CONTEXT * longest // WINDOW)


if __name__ == "__main__":
    main()
