#!/usr/bin/env bash
# One verb as an array of Slurm jobs, each with one shard, and a job that merges them when all have ended well.
#
#   workflow/sbatch-array.sh N OUT VERB ARGUMENTS...
#   workflow/sbatch-array.sh 16 scores metrics sae/ hg38.fa sites.bed.gz -r chr14
#
# VERB is extract, metrics, export-bigwig, motifs, insert, effects or compare. SBATCH has more options of sbatch, such as
# SBATCH='--partition=short --cpus-per-task=8 --time=2:00:00'. The shards of a verb lie in OUT.shards, but those of
# extract in OUT itself. If a job failed, start the same command again: complete shards take seconds, others continue or
# are read again.
set -euo pipefail
n=$1 out=$2 verb=$3
shift 3
words=$(printf ' %q' "$@")
each=$(printf '%q' "$out.shards")/\$SLURM_ARRAY_TASK_ID to=$(printf '%q' "$out") shards=
for i in $(seq "$n"); do shards+=" $(printf '%q' "$out.shards")/$i"; done
case $verb in
    extract) each=$to merge="sae-tracks extract$words -o $to" ;;
    metrics) merge="sae-tracks merge-metrics$shards -o $to" ;;
    export-bigwig) merge="sae-tracks merge-bigwig$shards -o $to" ;;
    motifs | insert | effects | compare) merge="sae-tracks merge-shards$shards -o $to" ;;
    *) echo "error: $verb has no shards" >&2 && exit 2 ;;
esac
read -ra options <<<"${SBATCH:-}"
job=$(sbatch --parsable --job-name="$verb" --array="1-$n" "${options[@]}" \
    --wrap "sae-tracks $verb$words --shard \$SLURM_ARRAY_TASK_ID/$n -o $each")
sbatch --parsable --job-name="merge-$verb" --dependency="afterok:${job%%;*}" "${options[@]}" --wrap "$merge"
