# shellcheck shell=bash
# Decides whether to requeue the job when its run has ended. Sourced by train.sbatch.

trap : TERM USR2 # the program handles these; this script waits for it to exit

# The id of this job; SLURM_JOB_ID alone could address a whole array.
JOB=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}

# Identifies the marker file of a stopped run. Only a changed marker counts: an old one may exist.
marker() { stat -c '%i %y' "$1/interrupted" 2>/dev/null || true; }

# end_or_go_on RUN CODE MARKER: exit with the program's exit code, or requeue the job if the program
# was stopped and wrote a new marker, or was killed by USR2 before it could write one. Other failures
# are not requeued, since they would recur. SLURM itself requeues a job that lost a node.
end_or_go_on() {
    local run=$1 code=$2 before=$3 reason='' step last='' count=0 counted
    counted=$(dirname "$run")/.requeues-$JOB
    # If SLURM is already ending the job (scancel, preemption), leave the rest to SLURM.
    [[ $(squeue -h -j "$JOB" -o %T) == RUNNING ]] || exit "$code"
    [[ $(marker "$run") == "$before" ]] || reason=$(cat "$run/interrupted" 2>/dev/null) || true
    [[ -n $reason || $code != 140 ]] || reason='by USR2, before the program could handle it' # 128 + USR2
    if [[ -z $reason || $reason == *'"STOP"'* ]]; then # stopped by a user, who will also restart it
        rm -f "$counted"
        [[ -z $reason ]] || code=0
        exit "$code"
    fi
    step=$(cut -d' ' -f1 "$run/checkpoints/latest" 2>/dev/null || echo none)
    [[ ! -f $counted ]] || read -r last count <"$counted"
    if [[ $last == "$step" ]]; then count=$((count + 1)); else count=1; fi
    if ((count > ${MAX_REQUEUES_WITHOUT_PROGRESS:-3})); then
        rm -f "$counted"
        echo "job $JOB: stopped ($reason) and not requeued: $((count - 1)) starts in a row made no progress beyond checkpoint $step" >&2
        exit 1
    fi
    echo "$step $count" >"$counted"
    echo "job $JOB: stopped ($reason), requeued; checkpoint $step"
    scontrol requeue "$JOB"
    sleep 60 # until SLURM ends this script
}
