# shellcheck shell=bash
# Shared by all batch files: settings of the job and functions that start processes. Sourced inside the job.

die() { echo "slurm/common.sh: $*" >&2; exit 2; }

[[ -n ${SLURM_JOB_ID:-} ]] || die "this runs inside a job; start it with sbatch"
cd "$SLURM_SUBMIT_DIR"

# Site settings (see site.env.example). The SBATCH_* ones have already been applied by sbatch.
if [[ -f slurm/site.env ]]; then
    # shellcheck source=/dev/null
    source slurm/site.env
fi
set -euo pipefail # only now, because site.env may fail under these options

LAUNCHER=${LAUNCHER:-ddp}
export LAUNCHER_FILE=$SLURM_SUBMIT_DIR/launchers/$LAUNCHER.yaml
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

# Give a task all cores of its node: since SLURM 22.05, srun no longer inherits this from sbatch.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}
# Make accelerate forward signals to its processes and wait until they have saved.
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2 PET_SHUTDOWN_TIMEOUT=300
export OMP_NUM_THREADS=1 # hybrid_dist sets thread counts itself

# INSIDE goes between srun and the command to run it in the container: srun options for Pyxis, or
# an Apptainer command. The submit folder has the same path inside the container.
INSIDE=()
MOUNTS=$SLURM_SUBMIT_DIR:$SLURM_SUBMIT_DIR${CONTAINER_MOUNTS:+,$CONTAINER_MOUNTS}
case ${CONTAINER_RUNTIME:-} in
    '') ;;
    pyxis) INSIDE=(--container-image="$CONTAINER" --container-mounts="$MOUNTS" --container-workdir="$SLURM_SUBMIT_DIR") ;;
    apptainer) INSIDE=(apptainer exec --nv --bind "$MOUNTS" --pwd "$SLURM_SUBMIT_DIR" "$CONTAINER") ;;
    *) die "CONTAINER_RUNTIME=$CONTAINER_RUNTIME: pyxis and apptainer are known" ;;
esac

# Run a command once on every node; each line of output starts with the node's number.
on_nodes() {
    srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --label --kill-on-bad-exit=1 --wait=60 "${INSIDE[@]}" "$@"
}
on_one_node() { srun --nodes=1 --ntasks=1 "${INSIDE[@]}" "$@"; }

# Run a module in PER_NODE processes on every node. Launchers do not forward signals to a single
# process, so it starts without one, except under DeepSpeed.
launch() {
    ((PER_NODE > 0)) || die "no GPU in this allocation: add --gpus-per-node=N to sbatch, or set PROCESSES_PER_NODE"
    export HYBRID_DIST_WORLD_SIZE=$((SLURM_NNODES * PER_NODE)) # any other number is an error
    if ((HYBRID_DIST_WORLD_SIZE == 1)) && [[ $LAUNCHER != zero* ]]; then
        on_nodes python -m "$@"
        return
    fi
    # SLURM_PROCID, the machine's rank, is known only inside the task.
    # shellcheck disable=SC2016
    on_nodes bash -c 'exec accelerate-launch --config_file "$LAUNCHER_FILE" \
        --num_machines "$SLURM_NNODES" --num_processes "$HYBRID_DIST_WORLD_SIZE" \
        --machine_rank "$SLURM_PROCID" \
        --main_process_ip "$HEAD_ADDRESS" --main_process_port "$HEAD_PORT" -m "$@"' launch "$@"
}

# check_nodes FOLDER: check that all nodes have the same versions, see their GPUs and share FOLDER.
check_nodes() {
    local meeting=$1/.nodes-$SLURM_JOB_ID code=0
    rm -rf "$meeting"
    on_nodes python -m hybrid_dist.runtime.preflight "$meeting" || code=$?
    rm -rf "$meeting"
    return "$code"
}

echo "job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)) at $(date '+%F %T'):" \
    "$SLURM_NNODES nodes ($SLURM_JOB_NODELIST) x $PER_NODE processes, $LAUNCHER," \
    "$SRUN_CPUS_PER_TASK CPUs a node, head $HEAD_ADDRESS:$HEAD_PORT"
for name in NCCL_SOCKET_IFNAME GLOO_SOCKET_IFNAME HF_HOME HF_HUB_OFFLINE TORCH_EXTENSIONS_DIR CONTAINER; do
    [[ -z ${!name:-} ]] || echo "  $name=${!name}"
done
