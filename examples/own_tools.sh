#!/usr/bin/env bash
# Feature tracks in pyGenomeTracks, deepTools and igv-notebook, from the results of the demo.
#
#   examples/own_tools.sh DEMO OUT
#
# DEMO is the folder of `sae-tracks demo`. OUT gets the tracks, the pictures, the executed notebook, and the programs in their own
# virtual environment (they need another version of matplotlib, and a part of deepTools is compiled). Takes five minutes on two
# cores. For bedtools, see docs/bedtools.md.
set -euo pipefail
demo=$(cd "$1" && pwd) out=$2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
cd "$out"
python3 -m venv programs
programs/bin/pip install --quiet pyGenomeTracks==3.9 deepTools==3.5.6 igv-notebook==0.6.2 nbconvert ipykernel
PATH=$PWD/programs/bin:$PATH

# tracks of the best features for coding sequence along the chromosome that was scored
best() { # prints the best feature of a concept and strand
    awk -F '\t' -v concept="$1" -v strand="$2" '$1 == concept && $3 == strand { print $4; exit }' "$demo/metrics/metrics.tsv"
}
features=$(for strand in + -; do best CDS "$strand"; best CDS:3 "$strand"; done | sort -u | sed s/f// | paste -sd, -)
sae-tracks export-bigwig "$demo/sae" "$demo/yeast.fa.gz" --context 128 -r chrXVI -f "$features" -o tracks

# pyGenomeTracks: the features of coding sequence, beside the genes
mkdir -p few
for strand in + -; do ln -sf "../tracks/$(best CDS "$strand").bw" few/; done
cp "$demo/genes.bed" few/
sae-tracks pygenometracks few
pyGenomeTracks --tracks few/tracks.ini --region chrXVI:312500-322500 -o pygenometracks.png

# deepTools: the same features along all genes of either strand, from their start (TSS) to their end (TES)
for strand in + -; do
    awk -v strand="$strand" '$1 == "chrXVI" && $6 == strand && $3 - $2 > 500' "$demo/genes.bed" >"genes$strand.bed"
done
computeMatrix scale-regions -b 300 -a 300 -m 1000 -bs 10 -p 2 \
    -S "tracks/$(best CDS +).bw" "tracks/$(best CDS -).bw" -R genes+.bed genes-.bed -o genes.gz
plotHeatmap -m genes.gz -o heatmap.png --regionsLabel "genes +" "genes -" --colorMap viridis --heatmapHeight 10 --heatmapWidth 9
multiBigwigSummary BED-file -b "tracks/$(best CDS +).bw" --BED genes+.bed -o means.npz --outRawCounts means.tsv

# run the notebook; open it in Jupyter
ln -sfn "$demo" demo
cp "$here/igv.ipynb" .
jupyter nbconvert --to notebook --execute --inplace igv.ipynb
ls -l ./*.png igv.ipynb
