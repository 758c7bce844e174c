"""What `sae-tracks variants` says of the variants of `site_variants.py`: per kind and feature, how many change it.

Activations are medians of the highest value near the variant, over the variants that change the feature, as fractions
of its maximum.

    python site_changes.py scored.vcf scored.parquet 93,31
"""

import sys
from pathlib import Path

import pandas as pd


def main(vcf: str, table: str, features: str) -> None:
    lines = Path(vcf).read_text().splitlines()
    kinds = [line.split("\t")[2] for line in lines if not line.startswith("#")]
    changes = pd.read_parquet(table)
    changes["kind"] = [kinds[record] for record in changes["record"]]
    sys.stdout.write("feature\tkind\tvariants\tchanged\treference\talternative\n")
    for feature in (f"f{one}" for one in features.split(",")):
        for kind in sorted(set(kinds)):
            rows = changes.query("feature == @feature and kind == @kind")
            highest = f"{rows['ref_max'].median():.2f}\t{rows['alt_max'].median():.2f}"
            sys.stdout.write(f"{feature}\t{kind}\t{kinds.count(kind)}\t{len(rows)}\t{highest}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
