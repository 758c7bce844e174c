"""What variants change in SAE features."""

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
shell(
    "sae-tracks variants {snakemake.input.sae} {snakemake.input.genome} {snakemake.input.variants} {extra}"
    " -p {snakemake.threads} -o {snakemake.output[0]} {log}"
)
