"""Values of SAE features as bigWig tracks, one per feature."""

from snakemake.shell import shell

log = snakemake.log_fmt_shell(stdout=True, stderr=True)
extra = snakemake.params.get("extra", "")
shell(
    "sae-tracks export-bigwig {snakemake.input.sae} {snakemake.input.genome} {extra}"
    " -p {snakemake.threads} -o {snakemake.output[0]} {log}"
)
