# shellcheck shell=bash
# Whether a run that has ended goes on: sourced by train.sbatch.

trap : TERM USR2 # meant for the program; this script waits for its end

# How SLURM calls this job: the number alone may mean a whole array.
JOB=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}

# The marker of a run that was stopped. An older one may lie there, so it counts when it changes.
marker() { stat -c '%i %y' "$1/interrupted" 2>/dev/null || true; }

# end_or_go_on RUN CODE MARKER: ends the job with the code of the program, or puts it back into the
# queue when the program was stopped and left word, or was ended by USR2 itself before it could leave
# any. No other code puts it back, for what failed for a reason of its own would fail again. A job that loses a node is put back by SLURM itself.
end_or_go_on() {
    local run=$1 code=$2 before=$3 told='' step last='' count=0 counted
    counted=$(dirname "$run")/.requeues-$JOB
    # Where SLURM is ending the job already (scancel, preemption), what follows is its affair.
    [[ $(squeue -h -j "$JOB" -o %T) == RUNNING ]] || exit "$code"
    [[ $(marker "$run") == "$before" ]] || told=$(cat "$run/interrupted" 2>/dev/null) || true
    [[ -n $told || $code != 140 ]] || told='by USR2, before the program could hear it' # 128 + USR2
    if [[ -z $told || $told == *'"STOP"'* ]]; then # a person who stops a run starts it again, too
        rm -f "$counted"
        [[ -z $told ]] || code=0
        exit "$code"
    fi
    step=$(cut -d' ' -f1 "$run/checkpoints/latest" 2>/dev/null || echo none)
    [[ ! -f $counted ]] || read -r last count <"$counted"
    if [[ $last == "$step" ]]; then count=$((count + 1)); else count=1; fi
    if ((count > ${MAX_REQUEUES_WITHOUT_PROGRESS:-3})); then
        rm -f "$counted"
        echo "job $JOB: stopped ($told) and not put back into the queue: $((count - 1)) starts in a row came no further than checkpoint $step" >&2
        exit 1
    fi
    echo "$step $count" >"$counted"
    echo "job $JOB: stopped ($told), back into the queue; checkpoint $step"
    scontrol requeue "$JOB"
    sleep 60 # SLURM ends this script
}
