#!/bin/bash
# Submit a pipeline from pairs to a report, as dependent jobs:
#   source slurm/site.env && slurm/pipeline.sh CONFIG [--key value ...]
# prepare   build a store for each entry of data.train that is not one yet: stores/NAME-1 and so on
# train     train CONFIG on these stores
# evaluate  evaluate the run on its eval.tasks; reports go to results/NAME
# compare   compare results/NAME with the folders in COMPARE: results/NAME/report.html
# If a job fails, the jobs that depend on it are cancelled. Options for sbatch and for compare:
#   PREPARE_OPTIONS='--partition=cpu' TRAIN_OPTIONS='--nodes=4 --gpus-per-node=8'
#   EVALUATE_OPTIONS='--gpus-per-node=8' COMPARE='results/monolingual results/cross_lingual'
# OVERWRITE=1 replaces reports of another model in results/NAME; without it evaluate fails.
# PYTHON='apptainer exec IMAGE python' reads the config if hybrid_dist is only in a container.
set -euo pipefail
die() { echo "slurm/pipeline.sh: $*" >&2; exit 2; }
[[ -f slurm/train.sbatch ]] || die "start it in the folder that slurm/ is in"
[[ $# -ge 1 ]] || die "name a config: slurm/pipeline.sh configs/xlmr-large-hybrid.yaml"
CONFIG=$1
shift

read -ra PYTHON <<<"${PYTHON:-python}"
value() { "${PYTHON[@]}" -m hybrid_dist.cli config get "$1" -- --config "$CONFIG" "${@:2}"; }
RUN=$(value run.folder "$@")
MODEL=$(value model.name_or_path "$@")
QUERY=$(value model.query_prefix "$@") PASSAGE=$(value model.passage_prefix "$@")
TRAIN=$(value data.train "$@") TASKS=$(value eval.tasks "$@")
mapfile -t TRAIN <<<"$TRAIN"
mapfile -t TASKS <<<"$TASKS"
[[ -n ${TASKS[0]} ]] || die "$CONFIG: eval.tasks is empty, so there is nothing to evaluate"
NAME=$(basename "$RUN") RESULTS=results/$(basename "$RUN")

# submit OPTIONS JOBS BATCH-FILE ARG...: print the job id. It starts when JOBS (:1:2) have succeeded.
submit() {
    local options=() after=()
    read -ra options <<<"$1"
    [[ -z $2 ]] || after=("--dependency=afterok$2" --kill-on-invalid-dep=yes)
    sbatch --parsable "${options[@]}" "${after[@]}" "${@:3}" | cut -d';' -f1
}

STORES=() PREPARED=''
for i in "${!TRAIN[@]}"; do
    STORE=${TRAIN[i]}
    if [[ ! -d $STORE ]]; then
        STORE=stores/$NAME-$((i + 1))
        JOB=$(submit "${PREPARE_OPTIONS:-}" '' slurm/command.sbatch prepare pairs "${TRAIN[i]}" \
            --out "$STORE" --tokenize "$MODEL" --query-prefix "$QUERY" --passage-prefix "$PASSAGE")
        PREPARED+=:$JOB
        echo "prepare   job $JOB: ${TRAIN[i]} becomes $STORE"
    fi
    STORES+=("$STORE")
done
JOB=$(submit "${TRAIN_OPTIONS:-}" "$PREPARED" slurm/train.sbatch "$CONFIG" "$@" --data.train "${STORES[@]}")
echo "train     job $JOB: $RUN"
JOB=$(submit "${EVALUATE_OPTIONS:-}" ":$JOB" slurm/evaluate.sbatch --model "$RUN" --task "${TASKS[@]}" --out "$RESULTS" ${OVERWRITE:+--overwrite})
echo "evaluate  job $JOB: $RESULTS"
read -ra OTHERS <<<"${COMPARE:-}"
JOB=$(submit '' ":$JOB" slurm/command.sbatch compare "$RESULTS" "${OTHERS[@]}" --out "$RESULTS")
echo "compare   job $JOB: $RESULTS/report.html"
