#!/usr/bin/env bash
# All steps on real human sequence: train an SAE on regions of four chromosomes, and score it on three held-out regions.
#
#   examples/real.sh DATA OUT [MODEL]
#
# DATA has the regions as bgzip FASTA (records named by region), JASPAR sites and CTCF peaks of chr22:20-21M, GENCODE of chr1,
# and the JASPAR matrices. MODEL is a language model (default: the bundled one). The files belong to different assemblies, but
# all sequence of a contig belongs to one assembly. With the bundled model, this takes about a quarter of an hour on two cores.
# UNTRAINED=1 adds the control tests with untrained models, which take one more hour. WINDOWS and TOKENS are how much is
# sampled and trained on.
set -euo pipefail
data=$1 out=$2 model=${3:-demo}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"

python "$here/place_regions.py" "$out/genome.fa.gz" "$out/placed.bed" \
    "chr1=$data/hg38.chr1_0-1000000.fa.gz:chr1" \
    "chr5=$data/hg16.ENCODE_ENm001-2.fa.gz:chr5_131332630_132332630:131332630" \
    "chr7=$data/hg16.ENCODE_ENm001-2.fa.gz:chr7_115365023_117242449:115365023" \
    "chr17=$data/b37.chr17_0-1000000.fa.gz:17" \
    "chr20=$data/hg19.chr20_9995000-11095000.fa.gz:chr20_9995000_11095000:9995000" \
    "chr22=$data/hg19.chr22_20000000-21000000.fa.gz:chr22_20000000_21000000:20000000"
sites=$data/JASPARscan.hg19.chr22_20000000-21000000.JASPAR2022.p1e-4.bed.gz
motifs=$data/JASPAR2022_vertebrates.pfm.gz
peaks=$data/CTCF_chr22_hg19.macs3.narrowPeak.gz
score=chr22:20,000,001-21,000,000
# held out: chr22 (motif sites), chr1:800,000-1,000,000 (exons), chr5, which is ENm002 (repeats)
awk 'BEGIN { OFS = "\t" } $1 ~ /^chr(22|5)$/ { next } $1 == "chr1" { $3 = 800000 } { print }' "$out/placed.bed" >"$out/train.bed"

sae-tracks extract "$model" "$out/genome.fa.gz" --regions "$out/train.bed" -n "${WINDOWS:-1000}" -o "$out/act"
sae-tracks shuffle "$out/act" -o "$out/shuffled"
sae-tracks train "$out/shuffled" -o "$out/sae" --tokens "${TOKENS:-3000000}"
sae-tracks evaluate "$out/sae" "$out/genome.fa.gz" -r chr22:20,000,001-20,200,000

controls=(--motifs "$motifs" --repeats alu)
if [ -n "${UNTRAINED:-}" ]; then controls+=(--controls untrained --trained-on "$out/shuffled"); fi
sae-tracks metrics "$out/sae" "$out/genome.fa.gz" "$sites" -r "$score" --min-instances 50 "${controls[@]}" -o "$out/metrics"
sae-tracks metrics "$out/sae" "$out/genome.fa.gz" softmask -r chr5:131,332,631-132,332,630 -o "$out/repeats"
# the contig ends at the end of its sequence
zcat "$data/gencode_human.chr1_0-1.5M.gtf.gz" | awk -F '\t' '/^#/ || $5 <= 1000000' >"$out/genes.gtf"
sae-tracks metrics "$out/sae" "$out/genome.fa.gz" "$out/genes.gtf" -r chr1:800,001-1,000,000 -o "$out/genes"

# tracks of the best features: the four bases and the five best motifs, on chr22 with the length that it has in hg19
printf 'chr22\t51304566\n' >"$out/hg19.chrom.sizes"
python "$here/place_regions.py" --sizes "$out/hg19.chrom.sizes" "$out/hg19.fa.gz" "$out/hg19.bed" \
    "chr22=$data/hg19.chr22_20000000-21000000.fa.gz:chr22_20000000_21000000:20000000"
features=$(awk -F '\t' 'NR > 1 && NR < 11 { sub("f", "", $4); print $4 }' "$out/metrics/metrics.tsv" | sort -un | paste -sd, -)
sae-tracks export-bigwig "$out/sae" "$out/hg19.fa.gz" -r "$score" -f "$features" -o "$out/tracks"
sae-tracks export-bed "$out/sae" "$out/hg19.fa.gz" -r "$score" -f "$features" -o "$out/tracks/features.bed"
sae-tracks hub "$out/tracks" --assembly hg19
sae-tracks igv "$out/tracks" --genome hg19
sae-tracks plot scores "$out/metrics/metrics.tsv" -o "$out/figures/scores.png"
cytosine=$(awk -F '\t' '$1 == "C" { sub("f", "", $4); print $4; exit }' "$out/metrics/metrics.tsv")
sae-tracks plot activation "$out/sae" "$out/genome.fa.gz" -r chr22:20,300,001-20,300,500 -f "$cytosine" --base C \
    -o "$out/figures/activation.png"
head -n 25 "$out/metrics/metrics.tsv" | column -t -s "$(printf '\t')"

# too few peaks for a score: count the peaks that the best features of the CTCF motif overlap, and the same for shuffled peaks
ctcf=$(awk -F '\t' '$1 ~ /^MA0139/ { sub("f", "", $4); print $4 }' "$out/metrics/metrics.tsv" | sort -un | paste -sd, -)
sae-tracks export-bed "$out/sae" "$out/genome.fa.gz" -r "$score" -f "$ctcf" -t 0 -o "$out/ctcf.bed"
awk 'BEGIN { OFS = "\t"; print "chr22", 20000000, 20509431; print "chr22", 20609431, 21000000 }' >"$out/readable.bed"
cut -f 1,2 "$out/genome.fa.gz.fai" >"$out/sizes"
bedtools intersect -u -a "$peaks" -b "$out/readable.bed" >"$out/peaks.bed"
echo "$(bedtools intersect -u -a "$out/peaks.bed" -b "$out/ctcf.bed" | wc -l) of $(wc -l <"$out/peaks.bed") CTCF peaks overlap"
for seed in $(seq 20); do
    bedtools shuffle -seed "$seed" -i "$out/peaks.bed" -g "$out/sizes" -incl "$out/readable.bed" -noOverlapping |
        bedtools intersect -u -a - -b "$out/ctcf.bed" | wc -l
done | sort -n | paste -sd ' ' - | sed 's/^/the same for shuffled peaks, 20 times: /'
