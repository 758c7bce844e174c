#!/usr/bin/env bash
# The whole path on real human sequence: train an SAE on regions of four chromosomes, score it on a fifth.
#
#   examples/real.sh DATA OUT [MODEL]
#
# DATA holds the regions as bgzip FASTA (records named by region) and JASPAR sites of chr22:20-21M in genome coordinates;
# MODEL is a language model (default: the bundled one). Assemblies differ between the files; each contig is of one.
# Takes about ten minutes on two cores with the bundled model.
set -euo pipefail
data=$1 out=$2 model=${3:-demo}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"

python "$here/place_regions.py" "$out/genome.fa.gz" "$out/placed.bed" \
    "chr1=$data/hg38.chr1_0-1000000.fa.gz:chr1" \
    "chr7=$data/hg16.ENCODE_ENm001-2.fa.gz:chr7_115365023_117242449:115365023" \
    "chr17=$data/b37.chr17_0-1000000.fa.gz:17" \
    "chr20=$data/hg19.chr20_9995000-11095000.fa.gz:chr20_9995000_11095000:9995000" \
    "chr22=$data/hg19.chr22_20000000-21000000.fa.gz:chr22_20000000_21000000:20000000"
sites=$data/JASPARscan.hg19.chr22_20000000-21000000.JASPAR2022.p1e-4.bed.gz
score=chr22:20,000,001-21,000,000
# chr22 and chr1:800,000-1,000,000 are held out
awk 'BEGIN { OFS = "\t" } $1 == "chr22" { next } $1 == "chr1" { $3 = 800000 } { print }' "$out/placed.bed" >"$out/train.bed"

sae-tracks extract "$model" "$out/genome.fa.gz" --regions "$out/train.bed" -n 1000 -o "$out/act"
sae-tracks shuffle "$out/act" -o "$out/shuffled"
sae-tracks train "$out/shuffled" -o "$out/sae" --tokens 3000000
sae-tracks metrics "$out/sae" "$out/genome.fa.gz" "$sites" -r "$score" --min-instances 50 -o "$out/metrics"

# tracks of the best features: the four bases and the five best motifs
features=$(awk -F '\t' 'NR > 1 && NR < 11 { sub("f", "", $4); print $4 }' "$out/metrics/metrics.tsv" | sort -un | paste -sd, -)
sae-tracks export-bigwig "$out/sae" "$out/genome.fa.gz" -r "$score" -f "$features" -o "$out/tracks"
sae-tracks export-bed "$out/sae" "$out/genome.fa.gz" -r "$score" -f "$features" -o "$out/tracks/features.bed"
sae-tracks hub "$out/tracks" --assembly hg19
sae-tracks igv "$out/tracks" --genome hg19
sae-tracks plot scores "$out/metrics/metrics.tsv" -o "$out/figures/scores.png"
cytosine=$(awk -F '\t' '$1 == "C" { sub("f", "", $4); print $4; exit }' "$out/metrics/metrics.tsv")
sae-tracks plot activation "$out/sae" "$out/genome.fa.gz" -r chr22:20,300,001-20,300,500 -f "$cytosine" --base C \
    -o "$out/figures/activation.png"
head -n 25 "$out/metrics/metrics.tsv" | column -t -s "$(printf '\t')"
