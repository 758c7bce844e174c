"""Precision, recall and F1 of SAE features against annotations, and a verdict for each match."""

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
shell(
    "sae-tracks metrics {snakemake.input.sae} {snakemake.input.genome} {snakemake.input.annotations} {extra}"
    " -p {snakemake.threads} -o {snakemake.output[0]} {log}"
)
