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

# tracks of the best feature for the repeat and for each base, motif and strand, along the contig that was scored
features=$(awk -F '\t' 'NR > 1 { sub("f", "", $4); print $4 }' "$demo/metrics/metrics.tsv" | sort -un | paste -sd, -)
sae-tracks export-bigwig "$demo/sae" "$demo/demo.fa" -r demo2 -f "$features" -o tracks
best() { # prints the best feature of a concept and strand
    awk -F '\t' -v concept="$1" -v strand="$2" '$1 == concept && $3 == strand { print $4; exit }' "$demo/metrics/metrics.tsv"
}
sites() { # prints the sites of a concept and strand, without the strand
    awk -F '\t' -v OFS='\t' -v concept="$1" -v strand="$2" \
        '$1 == "demo2" && $4 == concept && $6 == strand { print $1, $2, $3, $4, $5, "." }' "$demo/truth.bed"
}

# pyGenomeTracks: the features of the repeat and of the bases, beside the true sites
mkdir -p few
for concept in Alu A C G T; do ln -sf "../tracks/$(best "$concept" +).bw" few/; done
cp "$demo/truth.bed" few/
sae-tracks pygenometracks few
pyGenomeTracks --tracks few/tracks.ini --region demo2:303000-306000 -o pygenometracks.png

# deepTools: two features around the sites of their motifs. deepTools turns sites of the minus strand around, but the model read
# all sites in one direction. So the sites of each strand are in a group of their own, in files without the strand.
for motif in MA0138.2 Alu; do
    for strand in + -; do sites "$motif" "$strand" >"$motif$strand.bed"; done
    computeMatrix reference-point --referencePoint center -b 200 -a 200 -bs 1 -p 2 \
        -S "tracks/$(best "$motif" +).bw" "tracks/$(best "$motif" -).bw" -R "$motif+.bed" "$motif-.bed" -o "$motif.gz"
    plotHeatmap -m "$motif.gz" -o "$motif.png" --refPointLabel centre --regionsLabel "$motif +" "$motif -" \
        --colorMap viridis --heatmapHeight 12
done
multiBigwigSummary BED-file -b "tracks/$(best Alu +).bw" --BED Alu+.bed -o means.npz --outRawCounts means.tsv

# run the notebook; open it in Jupyter
ln -sfn "$demo" demo
cp "$here/igv.ipynb" .
jupyter nbconvert --to notebook --execute --inplace igv.ipynb
ls -l ./*.png igv.ipynb
