"""How features are called: ``f357`` in files, tracks, tables and URLs, ``f/357`` in prose and figures."""


def feature_name(feature: int) -> str:
    """``f357``: the name of a feature in files, tracks and tables."""
    return f"f{feature}"


def feature_label(name: str) -> str:
    """``f/357``: the name of a feature in prose and figures, from its name in files."""
    return f"f/{name.removeprefix('f')}"
