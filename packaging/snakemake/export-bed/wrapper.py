"""Intervals in which SAE features are active, as BED."""

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
shell(
    "sae-tracks export-bed {snakemake.input.sae} {snakemake.input.genome} {extra}"
    " -p {snakemake.threads} -o {snakemake.output[0]} {log}"
)
