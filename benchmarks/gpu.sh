#!/usr/bin/env bash
# All that benchmarks/gpu.py measures, on the GPU of this machine, with the step in Triton: one JSON object on stdout.
set -euo pipefail
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1 SAE_TRACKS_TRITON="${SAE_TRACKS_TRITON-1}"
exec "${PYTHON:-python3}" benchmarks/gpu.py "$@"
