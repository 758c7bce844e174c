"""Names of features, of the models that come with the package, and the revisions of public ones; counts in words.

It imports nothing.

A feature is ``f357`` in files, tracks, tables and URLs, and ``f/357`` in prose and figures.
"""

# Revisions of models that are named without one; the losses of `check-model` were measured on this commit.
PINNED = {"LongSafari/hyenadna-small-32k-seqlen-hf": "8fe770c78eb13fe33bf81501612faeddf4d6f331"}

# Models that come with the package, and their folders in ``data/``.
BUNDLED = {"demo": "demo-lm", "yeast": "yeast-lm"}

NO_NAME = "no name"  # of a feature to which no test gives a name
# Scores against signals
SIGNALS = "signals.tsv"
SIGNAL_PROFILES = "signal_profiles.parquet"
# What other verbs find out about features, beside the scores
DESCRIBED = "describe.tsv"
MOTIFS = "motifs.meme"
ATLAS = "atlas.tsv"
PLANES = {"decoder": "cosine", "activity": "jaccard"}  # of the atlas, and what says how alike two features are


def counted(n: int, one: str, many: str = "") -> str:
    """``1 file``, ``2 files``, ``1,000 files``; `many` is a plural other than `one` with an s."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def feature_name(feature: int) -> str:
    """``f357``: the name of a feature in files, tracks and tables."""
    return f"f{feature}"


def feature_number(name: str) -> int:
    """357 of ``f357``."""
    return int(name.removeprefix("f"))


def motif_label(tf: str, matrix_id: str) -> str:
    """``CTCF (MA0139.2)``, or the matrix ID of a motif without a factor."""
    return f"{tf} ({matrix_id})" if tf else matrix_id


def feature_label(name: str) -> str:
    """``f/357``: the name of a feature in prose and figures, from its name in files."""
    return f"f/{name.removeprefix('f')}"
