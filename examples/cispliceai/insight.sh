#!/usr/bin/env bash
# Two features of CI-SpliceAI through all verbs that explain features: the figures of "Two features of a splice network"
# in docs/insight.md.
#
#   examples/cispliceai/insight.sh DATA OUT
#
# DATA is that of run.sh; chr1, chr9, chr17, chr20 and JASPAR 2022 are used. Install the plug-in and the weights first
# (README.md). On one core, this takes some 20 minutes, 8 of them for the verdicts.
set -euo pipefail
data=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
cd "$2"
select=chr1:800,001-1,000,000 report=chr9 # nothing is trained on these, nor on chr20
near=(--context 2000)                     # block 12 sees 1,000 bases on either side
both=(--read-strand both "${near[@]}")

python "$here/../place_regions.py" genome.fa.gz placed.bed \
    "chr1=$data/hg38.chr1_0-1000000.fa.gz:chr1" \
    "chr9=$data/human/hg38.chr9_0-1000000.fa.gz:9" \
    "chr17=$data/b37.chr17_0-1000000.fa.gz:17" \
    "chr20=$data/hg19.chr20_9995000-11095000.fa.gz:chr20_9995000_11095000:9995000"
python "$here/sites.py" "$data/gencode_human.chr1_0-1.5M.gtf.gz" chr1.bed
python "$here/sites.py" "$data/human/GRCh38.91_chr9_1_1000000.gtf.gz" chr9.bed chr
awk '$3 <= 1000000' chr1.bed chr9.bed >sites.bed # the contigs end there

# three SAEs that differ in their seed, what their features find, and the verdicts of the first
sae-tracks extract cispliceai:1 genome.fa.gz --layer 12 -r chr17 "${both[@]}" -o act
sae-tracks shuffle act -o shuffled
for seed in 0 1 2; do
    sae-tracks train shuffled -o "sae-$seed" --d-sae 256 --k 4 --lr 3e-3 --tokens 5400000 --seed "$seed"
done
python "$here/per_base.py" genome.fa.gz sites.bed "$select" "$report" sae-0 sae-1 sae-2 >per_base.tsv
sae-tracks metrics sae-0 genome.fa.gz sites.bed "${both[@]}" -r "$select" -r "$report" --select-on chr1 --report-on chr9 \
    --repeats alu --controls untrained --trained-on chr17:1-200,000 -o scores
best() { awk -F '\t' -v concept="$1" '$1 == concept && $3 == "+" { print substr($4, 2) }' scores/metrics.tsv; }
features=$(best acceptor),$(best donor)

# what do their strongest places share? JASPAR has no splice sites: the annotated ones are put beside its matrices
python "$here/matrices.py" genome.fa.gz sites.bed "$select" >sites.pfm
zcat "$data/JASPAR2022_vertebrates.pfm.gz" | cat sites.pfm - >known.pfm
sae-tracks motifs sae-0 genome.fa.gz "${both[@]}" -r chr20 -r "$report" --select-on chr20 --report-on "$report" \
    -f "$features" --places 200 --motifs known.pfm --annotation sites.bed --logos -o motifs

# are the sites' words enough?
sae-tracks insert sae-0 genome.fa.gz "${near[@]}" -r "$report" -f "$features" --motifs sites.pfm -o insertion

# which bases matter, in one exon; does one end of an exon need the other, in all of them?
sae-tracks saturate sae-0 genome.fa.gz "${near[@]}" -r chr9:734,698-734,847 -f "$features" -o saturation
python "$here/exon_ends.py" sae-0 genome.fa.gz sites.bed "$report" "$features" | tee exon_ends.tsv

# what do variants change that spoil a site?
python "$here/site_variants.py" genome.fa.gz sites.bed "$report" >variants.vcf
sae-tracks variants sae-0 genome.fa.gz variants.vcf --window-size 3000 "${near[@]}" -o scored.vcf
python "$here/site_changes.py" scored.vcf scored.parquet "$features" | tee changes.tsv

# what do they do to the network's outputs, which see 5,000 bases on either side?
sae-tracks effects sae-0 genome.fa.gz --context 10000 -r chr9:300,001-500,000 -f "$features" --annotation sites.bed \
    --concept acceptor --concept donor -o effects/effects.tsv

# do other seeds have them?
for seed in 1 2; do
    sae-tracks compare sae-0 "sae-$seed" genome.fa.gz "${both[@]}" -r "$report" -o "compared-$seed"
done
sae-tracks describe sae-0 scores motifs insertion effects compared-1 -o described
