#!/usr/bin/env bash
# Everything that needs one GPU: tests/gpu, a training step, embedding, the evaluator (10 minutes).
#   make gpu                          from a checkout; results go to runs/gpu
#   DRY_RUN=1 benchmarks/gpu/run.sh   the same programs with tiny sizes, on a CPU (1 minute)
# PYTHON and OUT choose an interpreter and a folder. What is not installed (deepspeed, faiss,
# sentence-transformers, pytest) is left out, with a line that says so.
set -uo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
export OUT=${OUT:-runs/gpu} PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$OUT"
rm -f "$OUT"/*.jsonl "$OUT"/*.txt
dry=()
if [ -n "${DRY_RUN:-}" ]; then dry=(--dry-run); fi
failed=0

# stage NAME COMMAND...: its output on the terminal and in $OUT/NAME.txt
stage() {
  local name=$1
  shift
  echo "== $name"
  "$@" 2>&1 | tee "$OUT/$name.txt" || { echo "== $name FAILED"; failed=1; }
}

if [ -z "${DRY_RUN:-}" ]; then
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$OUT/card.txt"
  stage tests "$PYTHON" -m pytest -m "" -rs --durations=20 tests/gpu
fi
for name in train_step embed search; do
  stage "$name" "$PYTHON" -W ignore "benchmarks/gpu/$name.py" "${dry[@]}"
done
if grep -q '"failed"' "$OUT"/*.jsonl; then failed=1; fi
exit "$failed"
