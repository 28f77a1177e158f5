# shellcheck shell=bash
# Decides whether to requeue the job when its program has ended. Sourced by train.sbatch and evaluate.sbatch:
# take_notes_in FOLDER, then the program, then end_or_go_on CODE PROGRESS.

trap : TERM USR2 # the program handles these; this script waits for it to exit

# The id of this job; SLURM_JOB_ID alone could address a whole array.
JOB=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
STOPPED_BY_USER=3 # the exit code: not 0, so that jobs which wait for success do not start

# take_notes_in FOLDER: the program notes there how it ends, and this script what the job went through.
take_notes_in() {
    NOTES=$1/.requeues-$JOB
    export HYBRID_DIST_ENDED=$1/.ended-$JOB
    rm -f "$HYBRID_DIST_ENDED"
}

# noted KEY: what was noted under a key; note KEY VALUE: note it.
noted() { [[ ! -f $NOTES ]] || sed -n "s/^$1 //p" "$NOTES"; }
note() {
    mkdir -p "$(dirname "$NOTES")"
    { [[ ! -f $NOTES ]] || grep -v "^$1 " "$NOTES" || true; echo "$1 $2"; } >"$NOTES.new"
    mv "$NOTES.new" "$NOTES"
}

# ended KEY: a text of the program's ended.json; nothing if there is none, or null.
ended() { [[ ! -f $HYBRID_DIST_ENDED ]] || sed -n "s/^ \"$1\": \"\(.*\)\",\{0,1\}$/\1/p" "$HYBRID_DIST_ENDED"; }

# What SLURM says of this job. A controller that does not answer is asked again, then the job is taken to run.
job_state() {
    local state
    for _ in {1..6}; do
        if state=$(squeue -h -j "$JOB" -o %T 2>/dev/null); then
            echo "$state"
            return
        fi
        sleep 5
    done
    echo RUNNING
}

# leave CODE: the job ends here.
leave() {
    rm -f "$NOTES" "$HYBRID_DIST_ENDED"
    exit "$1"
}

# give_up WHY: the same, as failed.
give_up() {
    echo "job $JOB: $1, not requeued" >&2
    leave 1
}

# requeue [NODE]: start the job again, without that node. The controller may be down for a while.
requeue() {
    local tries
    trap '' TERM # SLURM sends it to this script and its commands at once; KillWait later it ends them
    for ((tries = 1; tries <= 60; tries++)); do
        ! scontrol requeue "$JOB" || break
        sleep 10
    done
    ((tries <= 60)) || give_up "scontrol requeue failed for 10 minutes: submit again to resume"
    [[ -z ${1:-} ]] || exclude "$1"
    sleep 60 # until SLURM ends this script
    exit 1
}

# exclude NODE: add a node to those that the job must not use. SLURM allows it while the job is pending,
# which it is from the moment of its requeue.
exclude() {
    local before tries
    before=$(scontrol show job "$JOB" | sed -n 's/.*ExcNodeList=\([^ ]*\).*/\1/p')
    [[ $before != '(null)' ]] || before=''
    for tries in {1..5}; do
        if scontrol update JobId="$JOB" ExcNodeList="${before:+$before,}$1"; then
            echo "job $JOB: $1 is excluded"
            return
        fi
        sleep "$tries"
    done
    echo "job $JOB: $1 could not be excluded: scontrol update JobId=$JOB ExcNodeList=$1" >&2
}

# end_or_go_on CODE PROGRESS: end the job with the program's exit code, or requeue it. PROGRESS is the
# newest checkpoint, or whatever else tells whether a start has brought the job on.
end_or_go_on() {
    local code=$1 progress=$2 kind message node
    kind=$(ended kind) message=$(ended message) node=$(ended node)
    # If SLURM is already ending the job (scancel, preemption), leave the rest to SLURM.
    if [[ $(job_state) != RUNNING ]]; then
        rm -f "$HYBRID_DIST_ENDED"
        exit "$code"
    fi
    if [[ -z $kind && $code == 140 ]]; then # 128 + USR2
        kind=stopped message='USR2, before the program could handle it'
    fi
    case $kind in
    finished) leave 0 ;;
    stopped)
        [[ $message != STOP ]] || leave $STOPPED_BY_USER
        after_stop "$progress" "$message"
        ;;
    crash | hang) after_failure "$progress" "$kind" "$node" "$message" ;;
    '') # refused before training, or killed with all that could write
        [[ $code != 0 && $code != 2 ]] || leave "$code"
        [[ -n ${LAUNCHED:-} || -n $(silent_node) ]] || leave "$code"
        ((SLURM_NNODES > 1)) || node=$SLURMD_NODENAME
        after_failure "$progress" crash "$node" "exit code $code"
        ;;
    *) leave 2 ;; # refused and the like: it would recur
    esac
}

after_stop() {
    local progress=$1 reason=$2 last count=1
    last=$(noted stop)
    [[ ${last% *} != "$progress" ]] || count=$((${last##* } + 1))
    ((count <= ${MAX_REQUEUES_WITHOUT_PROGRESS:-3})) ||
        give_up "stopped ($reason); $((count - 1)) starts in a row made no progress beyond $progress"
    note stop "$progress $count"
    echo "job $JOB: stopped ($reason), requeued; $progress"
    requeue
}

# silent_node: the first node of the job that does not answer, if there is one.
silent_node() {
    local node
    for node in $(scontrol show hostnames); do
        timeout 60 "${SRUN[@]}" --overlap --nodes=1 --ntasks=1 --nodelist="$node" true >/dev/null 2>&1 ||
            { echo "$node"; break; }
    done
}

after_failure() {
    local progress=$1 kind=$2 node=$3 message=$4 count=0
    if [[ -z $node ]]; then
        node=$(silent_node)
        if [[ -n $node ]]; then # ranks notice it long before SLURM, which then requeues the job itself
            echo "job $JOB: $kind ($message); $node does not answer, waiting for SLURM to notice"
            sleep 900 || true
            [[ $(job_state) == RUNNING ]] || exit 1
        fi
    fi
    [[ $(noted failure) != "$progress" ]] ||
        give_up "$kind ($message); the start before failed too, and there is no progress beyond $progress"
    note failure "$progress"
    if [[ -n $node ]]; then
        count=$(noted "node-$node")
        count=$((${count:-0} + 1))
        note "node-$node" $count
    fi
    echo "job $JOB: $kind${node:+ on $node} ($message), requeued; $progress"
    if ((count < 2)); then requeue; else requeue "$node"; fi
}
