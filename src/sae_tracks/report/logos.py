"""Motif logos: the letters of a matrix, as high as the bits that they carry."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from sae_tracks.motifs import Motif

LETTERS = "ACGT"
COLORS = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00"}  # Okabe and Ito: safe for the colour-blind
MOST_BITS = 2.0


def letter_heights(motif: Motif) -> NDArray[np.float64]:
    """Return the height of each letter of a logo (Schneider and Stephens 1990), against a uniform background.

    Returns
    -------
    (w, 4) float64
        Bits: the probability of A, C, G and T times the information of the position, 2 - entropy. The probabilities are
        those by which sites are scored (`Motif.probabilities`), so there is no correction for small samples beyond
        their pseudocount.
    """
    p = motif.probabilities()
    information = MOST_BITS + np.where(p > 0, p * np.log2(np.where(p > 0, p, 1)), 0).sum(axis=1, keepdims=True)
    return p * information


def plot_logo(motif: Motif) -> Figure:
    """Draw the logo of a motif with logomaker, on a scale of 0 to 2 bits."""
    from logomaker import Logo

    figure = Figure(figsize=(1 + 0.32 * motif.width, 1.8), layout="constrained")
    axes = figure.subplots()
    heights = pd.DataFrame(letter_heights(motif), columns=list(LETTERS), index=np.arange(1, motif.width + 1))
    Logo(heights, ax=axes, color_scheme=COLORS, show_spines=False)
    axes.set(ylim=(0, MOST_BITS), ylabel="bits", xlabel="position")
    axes.set_yticks([0, 1, 2])
    axes.set_xticks(range(1, motif.width + 1))
    axes.spines["left"].set_visible(True)
    axes.set_title(f"{motif.matrix_id} {motif.tf}".strip(), loc="left", fontsize="medium")
    return figure


def glyphs() -> dict[str, str]:
    """Return outlines of A, C, G and T as SVG path data in the unit square, y downwards, so that no font is needed."""
    return {letter: _outline(letter) for letter in LETTERS}


def _outline(letter: str) -> str:
    path = TextPath((0, 0), letter, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    scaled = (np.asarray(path.vertices) - box.p0) / box.size
    commands = {path.MOVETO: "M", path.LINETO: "L", path.CURVE3: "Q", path.CURVE4: "C", path.CLOSEPOLY: "Z"}
    parts, previous = [], None
    for code, (x, y) in zip(path.codes, scaled):
        same = code == previous and code in (path.CURVE3, path.CURVE4)  # the points of a curve share one command
        point = "" if code == path.CLOSEPOLY else f"{x:.3g} {1 - y:.3g}"
        parts.append(point if same else commands[code] + point)
        previous = code
    return " ".join(parts)
