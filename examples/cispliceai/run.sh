#!/usr/bin/env bash
# All numbers of README.md: SAEs at four places of CI-SpliceAI, and one of a network for another species on the same DNA.
#
#   examples/cispliceai/run.sh DATA ARABIDOPSIS.pt OUT
#
# DATA has the regions as bgzip FASTA, GENCODE v29 of chr1 and Ensembl 91 of chr9; ARABIDOPSIS.pt is OpenSpliceAI's
# arabidopsis_10000nt_rs10.pt. Install the plug-in and the weights first (README.md). On one core, this takes some three
# hours, most of them for the untrained models: UNTRAINED= leaves these out.
set -euo pipefail
data=$1 arabidopsis=$2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$3"
out=$(cd "$3" && pwd)
genome=$out/genome.fa.gz
select=chr1:800,001-1,000,000 report=chr9 # nothing is trained on these
both=(--read-strand both --context 10000)

python "$here/../place_regions.py" "$genome" "$out/placed.bed" \
    "chr1=$data/hg38.chr1_0-1000000.fa.gz:chr1" \
    "chr7=$data/hg16.ENCODE_ENm001-2.fa.gz:chr7_115365023_117242449:115365023" \
    "chr9=$data/human/hg38.chr9_0-1000000.fa.gz:9" \
    "chr17=$data/b37.chr17_0-1000000.fa.gz:17" \
    "chr20=$data/hg19.chr20_9995000-11095000.fa.gz:chr20_9995000_11095000:9995000"
awk 'BEGIN { OFS = "\t" } $1 == "chr9" { next } $1 == "chr1" { $3 = 800000 } { print }' "$out/placed.bed" >"$out/train.bed"
python "$here/sites.py" "$data/gencode_human.chr1_0-1.5M.gtf.gz" "$out/chr1.bed"
python "$here/sites.py" "$data/human/GRCh38.91_chr9_1_1000000.gtf.gz" "$out/chr9.bed" chr
awk '$3 <= 1000000' "$out/chr1.bed" "$out/chr9.bed" >"$out/sites.bed" # the contigs end there

activations() { # NAME MODEL OPTIONS: rows in random order
    sae-tracks extract "$2" "$genome" "${@:3}" "${both[@]}" -o "$out/act_$1"
    sae-tracks shuffle "$out/act_$1" -o "$out/shuffled_$1"
    rm -r "$out/act_$1"
}
train() { # NAME D_SAE K
    sae-tracks train "$out/shuffled_$1" -o "$out/sae_$1_$2_$3" --d-sae "$2" --k "$3" --lr 3e-3
}
per_base() { # NAME SAE...
    (cd "$out" && python "$here/per_base.py" "$genome" sites.bed "$select" "$report" "${@:2}" | tee "per_base_$1.tsv")
}
judge() { # SAE OPTIONS
    sae-tracks metrics "$out/$1" "$genome" "$out/sites.bed" "${both[@]}" -r "$select" -r "$report" --select-on chr1 \
        --report-on chr9 --repeats alu "${@:2}" -o "$out/metrics_$1"
}
untrained=(--controls untrained --trained-on chr17:1-200,000) # a part, because six SAEs are trained on it
if [ "${UNTRAINED-1}" = "" ]; then untrained=(); fi

for block in 8 12 16; do
    activations "t$block" cispliceai:1 --layer "$block" --regions "$out/train.bed"
    train "t$block" 64 4
    train "t$block" 256 4
    per_base "t$block" "sae_t${block}_64_4" "sae_t${block}_256_4"
done
judge sae_t12_256_4 "${untrained[@]}"
judge sae_t16_64_4 "${untrained[@]}"

activations s4 cispliceai:1 --hook skip.4 --regions "$out/train.bed"
for shape in "64 4" "256 2" "256 4" "256 8"; do
    read -r d_sae k <<<"$shape"
    train s4 "$d_sae" "$k"
done
per_base s4 sae_s4_64_4 sae_s4_256_2 sae_s4_256_4 sae_s4_256_8
judge sae_s4_64_4

# the control: the same human DNA, a network that knows the splice sites of Arabidopsis
activations ath "openspliceai:$arabidopsis" --layer 16 -r chr17
train ath 64 4
per_base ath sae_ath_64_4
judge sae_ath_64_4 "${untrained[@]}"
