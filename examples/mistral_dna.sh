#!/usr/bin/env bash
# A public language model whose tokens are byte pairs, from its folder to tracks: Mistral-DNA, which AutoModel opens.
#
#   examples/mistral_dna.sh MODEL GENOME GENES OUT [TRAIN [SCORE]]
#
# MODEL is the folder of a Mistral-DNA for hg38. GENOME is a soft-masked FASTA of hg38, plain or bgzip. GENES is a GTF. TRAIN and
# SCORE are the regions on which the SAE is trained and scored. With the defaults, this takes about five CPU minutes.
# UNTRAINED=1 adds the control tests with untrained models: six more models are read, and SAEs trained on them. TOKENS is the number of rows to train on.
# Hub and sessions bring GENOME along, so it may also hold parts of hg38 only (place_regions.py). ASSEMBLY=hg38 leaves it out.
set -euo pipefail
model=$1 genome=$2 genes=$3 out=$4 train=${5:-chr1:600,001-1,000,000} score=${6:-chr9:1-1,000,000}
mkdir -p "$out"

sae-tracks extract "$model" "$genome" -r "$train" --read-strand both -o "$out/act"
sae-tracks shuffle "$out/act" -o "$out/shuffled"
sae-tracks train "$out/shuffled" -o "$out/sae" --d-sae 512 --k 16 --tokens "${TOKENS:-2000000}"

# the lower case of the FASTA is both an annotation to score and the repeats of the control tests
controls=(--repeats softmask)
if [ -n "${UNTRAINED:-}" ]; then controls+=(--controls untrained --trained-on "$out/shuffled"); fi
sae-tracks metrics "$out/sae" "$genome" "$genes" softmask -r "$score" --alias ucsc "${controls[@]}" -o "$out/metrics"
sae-tracks info "$out/sae" --scores "$out/metrics"

sae-tracks export-bigwig "$out/sae" "$genome" -r "$score" --top 20 --from "$out/metrics/metrics.tsv" -o "$out/tracks"
where=(--genome "$genome")
if [ -n "${ASSEMBLY:-}" ]; then where=(--assembly "$ASSEMBLY"); fi
sae-tracks hub "$out/tracks" "${where[@]}" --from "$out/metrics/metrics.tsv"
sae-tracks check-hub "$out/tracks"
sae-tracks igv "$out/tracks" --genome "${ASSEMBLY:-$genome}" --from "$out/metrics/metrics.tsv"
sae-tracks report "$out/metrics" --tracks "$out/tracks" --genome "$genome" --annotation "$genes" -o "$out/page"
