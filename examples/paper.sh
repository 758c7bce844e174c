#!/usr/bin/env bash
# The paper (arXiv 2507.07486) from its downloads to its figures, and beside it our default settings with control tests.
#
#   examples/paper.sh OUT
#
# Downloads hg38 (1 GB), its repeats (0.2 GB), HyenaDNA-small-32k and the matrices of JASPAR 2024, which are the only inputs.
# The paper does not say how many windows it sampled: WINDOWS=500 gives 12 million activations.
# UNTRAINED=1 adds the control tests with untrained models. docs/scale.md says what all this takes, and how to run it on a
# cluster (workflow/config.paper.yaml). GOLDEN is a file of known losses for check-model, for another model or genome.
set -euo pipefail
out=$1
model=LongSafari/hyenadna-small-32k-seqlen-hf
published=MA1596.1,MA2121.1,MA0052.5 # the motifs of Fig. 3: ZNF460, ZNF213, MEF2A
figure2=chr14:87,049,332-87,049,831  # 500 bases, 1-based inclusive
genome=$out/hg38.fa.gz motifs=$out/JASPAR2024.pfm repeats=$out/rmsk.txt.gz
mkdir -p "$out"

sae-tracks fetch model "$model"
sae-tracks fetch genome hg38 -o "$genome"
sae-tracks fetch annotation repeats --assembly hg38 -o "$repeats"
sae-tracks fetch jaspar-matrices --release 2024 -o "$motifs"
sae-tracks check-model "$model" --genome "$genome" ${GOLDEN:+--golden "$GOLDEN"}

# block 3, windows of the whole genome, all activations in random order
sae-tracks extract "$model" "$genome" --layer 3 -n "${WINDOWS:-500}" -o "$out/act"
sae-tracks shuffle "$out/act" -o "$out/shuffled"
# motif sites of chr14 by the rule of the JASPAR tracks
sae-tracks scan "$genome" -r chr14 --motifs "$motifs" --p-value 1e-4 -o "$out/sites.bed.gz"

# NAME: the columns of the published motifs and the four bases
rows() {
    awk -F '\t' -v OFS='\t' -v wanted="A,C,G,T,$published" -v names="$2" '
        BEGIN { split(wanted, words, ","); for (i in words) keep[words[i]]; n = split(names, columns, " ") }
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
        NR == 1 || $1 in keep { line = $1; for (i = 1; i <= n; i++) line = line OFS ($at[columns[i]] == "" ? "-" : $at[columns[i]]); print line }
    ' "$out/$1/metrics.tsv" | column -t -s "$(printf '\t')"
}
figures() { # SAE SCORES: Fig. 2 with the best feature of cytosine, and Fig. 3
    cytosine=$(awk -F '\t' '$1 == "C" { sub("f", "", $4); print $4; exit }' "$out/$2/metrics.tsv")
    sae-tracks plot activation "$out/$1" "$genome" -r "$figure2" -f "$cytosine" --base C -o "$out/figures/$1.figure2.png"
    sae-tracks plot scores "$out/$2/metrics.tsv" -o "$out/figures/$1.figure3.png"
}

# as the paper does it: its settings, one threshold, choice and scores on the same bases
sae-tracks train "$out/shuffled" --preset paper -o "$out/sae-paper"
sae-tracks metrics "$out/sae-paper" "$genome" "$out/sites.bed.gz" -r chr14 -t 0.15 --no-split -o "$out/metrics-paper"
figures sae-paper metrics-paper
rows metrics-paper "tf site_strand feature precision recall f1"

# as we would: features and thresholds chosen on other bases, and every match compared with what else explains it
sae-tracks train "$out/shuffled" -o "$out/sae"
controls=(--motifs "$motifs" --repeats "$repeats")
if [ -n "${UNTRAINED:-}" ]; then controls+=(--controls untrained); fi
sae-tracks metrics "$out/sae" "$genome" "$out/sites.bed.gz" -r chr14 "${controls[@]}" -o "$out/metrics"
figures sae metrics
rows metrics "tf site_strand feature precision recall f1 ap_inside_repeats ap_outside_repeats verdict"

# the published motifs, put into other sequence and into Alu: does their best feature follow them there?
best=$(awk -F '\t' -v ids="$published" 'index(ids, $1) && $1 ~ /^MA/ { sub("f", "", $4); print $4 }' "$out/metrics/metrics.tsv" |
    sort -un | paste -sd, -)
sae-tracks insert "$out/sae" "$genome" -r chr14 --motifs "$motifs" --matrix "$published" -f "$best" --repeats alu -o "$out/insertion"
sae-tracks report "$out/metrics" --motifs "$motifs" --figure "$out/figures/sae.figure2.png" -o "$out/site"
