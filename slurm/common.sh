# shellcheck shell=bash
# Shared by all batch files: settings of the job and functions that start processes. Sourced inside the job.

die() { echo "slurm/common.sh: $*" >&2; exit 2; }

[[ -n ${SLURM_JOB_ID:-} ]] || die "this runs inside a job; start it with sbatch"
cd "$SLURM_SUBMIT_DIR"
ROOT=${HYBRID_DIST_SNAPSHOT:-$SLURM_SUBMIT_DIR} # the folder of slurm/ and launchers/ to use

# Site settings (see site.env.example). The SBATCH_* ones have already been applied by sbatch.
if [[ -f $ROOT/slurm/site.env ]]; then
    # shellcheck source=/dev/null
    source "$ROOT/slurm/site.env"
fi
set -euo pipefail # only now, because site.env may fail under these options

# `hybrid-dist submit` and `study --slurm` copy the code: run the copy, not a checkout in this folder.
if [[ -n ${HYBRID_DIST_SNAPSHOT:-} ]]; then
    export PYTHONPATH=$ROOT/code${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1
fi

LAUNCHER=${LAUNCHER:-ddp}
export LAUNCHER_FILE=$ROOT/launchers/$LAUNCHER.yaml
[[ -f $LAUNCHER_FILE ]] || die "LAUNCHER=$LAUNCHER: no file $LAUNCHER_FILE"

# Processes per node: one per allocated GPU, unless PROCESSES_PER_NODE is set.
PER_NODE=${PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-0}}

# Rendezvous: all ranks connect to the first node, where this script runs, at an address that the
# others can reach. The port is derived from the job id and lies below the ephemeral ports.
if [[ -n ${NETWORK_INTERFACE:-} ]]; then
    HEAD_ADDRESS=$(ip -4 -o addr show dev "$NETWORK_INTERFACE" | sed -n '1s/.* inet \([0-9.]*\).*/\1/p')
    export GLOO_SOCKET_IFNAME=$NETWORK_INTERFACE NCCL_SOCKET_IFNAME=$NETWORK_INTERFACE
else
    HEAD_NAME=$(scontrol show node "$SLURMD_NODENAME" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
    HEAD_ADDRESS=$(getent ahostsv4 "$HEAD_NAME" | sed -n '1s/ .*//p')
fi
[[ -n $HEAD_ADDRESS && $HEAD_ADDRESS != 127.* ]] ||
    die "$SLURMD_NODENAME has no address that other nodes reach (found '$HEAD_ADDRESS'): set NETWORK_INTERFACE in slurm/site.env"
HEAD_PORT=$((20000 + SLURM_JOB_ID % 10000))
export HEAD_ADDRESS HEAD_PORT

# Give a task all cores and memory of the job on its node: since SLURM 22.05, srun no longer inherits the cores
# from sbatch. srun also reads what sbatch was given from the environment, and since 23.11 it ends with an error
# if cores, tasks or memory are set in two ways; so each is set in one.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE} SLURM_MEM_PER_NODE=0
unset SLURM_CPUS_PER_TASK SLURM_CPUS_PER_GPU SLURM_TRES_PER_TASK SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU \
    SLURM_GPUS_PER_TASK SLURM_NTASKS_PER_GPU
# Make accelerate forward signals to its processes, and wait until they have saved: for as long as SLURM does
# between its signal and the time limit.
TIME_TO_STOP=${SBATCH_SIGNAL:-USR2@300}
TIME_TO_STOP=${TIME_TO_STOP##*@}
[[ $TIME_TO_STOP =~ ^[0-9]+$ ]] || die "SBATCH_SIGNAL=$SBATCH_SIGNAL: give the seconds too, as in USR2@600"
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2 PET_SHUTDOWN_TIMEOUT=$TIME_TO_STOP
export OMP_NUM_THREADS=1 # hybrid_dist sets thread counts itself

# INSIDE goes between srun and the command to run it in the container: srun options for Pyxis, or
# an Apptainer command. A container sees the submit folder, the caches, and what mount_paths is given,
# all under the paths that they have outside.
INSIDE=()
MOUNTS=$SLURM_SUBMIT_DIR:$SLURM_SUBMIT_DIR${CONTAINER_MOUNTS:+,$CONTAINER_MOUNTS}
mount_paths() {
    local word
    [[ -n ${CONTAINER_RUNTIME:-} ]] || return 0
    for word in "$@"; do
        mount_path "$word"
        [[ $word != *[:=]* ]] || mount_path "${word#*[:=]}" # NAME:PATH, --option=PATH
        [[ $word != *=*:* ]] || mount_path "${word#*=*:}"   # LABEL=NAME:PATH
    done
    case $CONTAINER_RUNTIME in
        pyxis) INSIDE=(--container-image="$CONTAINER" --container-mounts="$MOUNTS" --container-workdir="$SLURM_SUBMIT_DIR") ;;
        apptainer) INSIDE=(apptainer exec --nv --bind "$MOUNTS" --pwd "$SLURM_SUBMIT_DIR" "$CONTAINER") ;;
        *) die "CONTAINER_RUNTIME=$CONTAINER_RUNTIME: pyxis and apptainer are known" ;;
    esac
}
# Of a glob, or of what is yet to be written, the folder that exists; of a link, also its target.
mount_path() {
    local path=${1%%[*?]*} place
    while [[ -n $path && ! -e $path && $path == */* ]]; do path=${path%/*}; done
    [[ -e $path ]] || return 0
    path=${path%/}
    [[ -d $path ]] || path=$(dirname "$path")
    for place in "$(realpath "$path")" "$path"; do
        [[ $place == /?* && $place/ != "$SLURM_SUBMIT_DIR"/* && ,$MOUNTS, != *",$place:$place,"* ]] || continue
        MOUNTS+=,$place:$place
    done
}
if [[ -n ${CONTAINER_RUNTIME:-} ]]; then # caches in the container's own home would be lost with it
    export HF_HOME=${HF_HOME:-$HOME/.cache/huggingface} HYBRID_DIST_CACHE=${HYBRID_DIST_CACHE:-$HOME/.cache/hybrid_dist}
    export TORCH_EXTENSIONS_DIR=${TORCH_EXTENSIONS_DIR:-$HYBRID_DIST_CACHE/torch_extensions}
    mkdir -p "$HF_HOME" "$HYBRID_DIST_CACHE" "$TORCH_EXTENSIONS_DIR" || die "a cache cannot be made: set HF_HOME and HYBRID_DIST_CACHE"
fi
mount_paths "$ROOT" "${HF_HOME:-}" "${HF_HUB_CACHE:-}" "${HYBRID_DIST_CACHE:-}" "${TORCH_EXTENSIONS_DIR:-}" "$@"

# srun would inherit `sbatch --export=NONE`; what this script sets has to reach its processes.
SRUN=(srun --export=ALL)
# Run a command once on every node; each line of output starts with the node's number.
on_nodes() {
    "${SRUN[@]}" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --label --kill-on-bad-exit=1 --wait=60 "${INSIDE[@]}" "$@"
}
on_one_node() { "${SRUN[@]}" --nodes=1 --ntasks=1 "${INSIDE[@]}" "$@"; }

# Run a module in PER_NODE processes on every node. Launchers do not forward signals to a single
# process, so it starts without one, except under DeepSpeed.
launch() {
    # shellcheck disable=SC2034 # requeue.sh reads it
    LAUNCHED=1
    ((PER_NODE > 0)) || die "no GPU in this allocation: add --gpus-per-node=N to sbatch, or set PROCESSES_PER_NODE"
    export HYBRID_DIST_WORLD_SIZE=$((SLURM_NNODES * PER_NODE)) # any other number is an error
    if ((HYBRID_DIST_WORLD_SIZE == 1)) && [[ $LAUNCHER != zero* ]]; then
        logged python -m "$@"
        return
    fi
    # SLURM_PROCID, the machine's rank, is known only inside the task.
    # shellcheck disable=SC2016
    logged bash -c 'exec python -m hybrid_dist.runtime.launcher --config_file "$LAUNCHER_FILE" \
        --num_machines "$SLURM_NNODES" --num_processes "$HYBRID_DIST_WORLD_SIZE" \
        --machine_rank "$SLURM_PROCID" \
        --main_process_ip "$HEAD_ADDRESS" --main_process_port "$HEAD_PORT" -m "$@"' launch "$@"
}

# on_nodes, with the lines of each start and node also in a file of their own in HYBRID_DIST_LOGS.
logged() {
    local code=0
    if [[ -z ${HYBRID_DIST_LOGS:-} ]]; then
        on_nodes "$@"
        return
    fi
    on_nodes "$@" &> >(by_node) || code=$?
    wait $! || true # until the last line is written
    return "$code"
}
by_node() {
    trap '' TERM INT USR2 # it ends when srun does
    local rules=() number=0 name job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
    for name in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
        rules+=(-e "/^ *$number: /w $HYBRID_DIST_LOGS/job-$job-start-$((${SLURM_RESTART_COUNT:-0} + 1))-$name.log")
        number=$((number + 1))
    done
    exec sed -u "${rules[@]}"
}

# check_nodes FOLDER: check that all nodes have the same versions, see their GPUs and share FOLDER, also
# with this script, which runs outside the container: what is written elsewhere is lost with it.
check_nodes() {
    local meeting=$1/.nodes-$SLURM_JOB_ID code=0
    rm -rf "$meeting"
    mkdir -p "$meeting" || die "$1 cannot be written on $SLURMD_NODENAME"
    export HYBRID_DIST_TOKEN="$SLURMD_NODENAME $RANDOM$RANDOM"
    echo "$HYBRID_DIST_TOKEN" >"$meeting/token"
    on_nodes python -m hybrid_dist.runtime.preflight "$meeting" || code=$?
    rm -rf "$meeting"
    return "$code"
}

echo "job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)) at $(date '+%F %T'):" \
    "$SLURM_NNODES nodes ($SLURM_JOB_NODELIST) x $PER_NODE processes, $LAUNCHER," \
    "$SRUN_CPUS_PER_TASK CPUs a node, head $HEAD_ADDRESS:$HEAD_PORT"
if ((${SLURM_GPUS_ON_NODE:-0} > 0 && PER_NODE > 0 && SRUN_CPUS_PER_TASK < 4 * PER_NODE)); then
    echo "  warning: fewer than 4 CPUs for each GPU, which will wait for them: add --cpus-per-gpu=8 to sbatch"
fi
for name in NCCL_SOCKET_IFNAME GLOO_SOCKET_IFNAME HF_HOME HF_HUB_OFFLINE TORCH_EXTENSIONS_DIR CONTAINER; do
    [[ -z ${!name:-} ]] || echo "  $name=${!name}"
done
