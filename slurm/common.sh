# shellcheck shell=bash
# What every batch file needs to know of its job. Sourced inside the job, from the submit folder.

die() { echo "slurm/common.sh: $*" >&2; exit 2; }

[[ -n ${SLURM_JOB_ID:-} ]] || die "this runs inside a job; start it with sbatch"
cd "$SLURM_SUBMIT_DIR"

# The site's own settings (site.env.example says which); what sbatch needs is already in force.
if [[ -f slurm/site.env ]]; then
    # shellcheck source=/dev/null
    source slurm/site.env
fi
set -euo pipefail # from here on: what a site loads may not stand it

LAUNCHER=${LAUNCHER:-ddp}
export LAUNCHER_FILE=$SLURM_SUBMIT_DIR/launchers/$LAUNCHER.yaml
[[ -f $LAUNCHER_FILE ]] || die "LAUNCHER=$LAUNCHER: no file $LAUNCHER_FILE"

# Processes on each node: one per GPU of the allocation, unless told.
PER_NODE=${PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-0}}

# All ranks meet at the first node, which is where this script runs, at an address that the others
# can reach. The port comes from the job's number, and lies below those that the system hands out.
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

# A task takes all cores of its node; srun takes them over from sbatch no more since SLURM 22.05.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}
# accelerate passes signals on to the processes, and waits for them to save.
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2 PET_SHUTDOWN_TIMEOUT=300
export OMP_NUM_THREADS=1 # the program shares a node's cores out itself

# What stands between srun and a command that runs in the site's container: options of Pyxis' srun,
# or Apptainer in front of the command. The submit folder is seen inside by its own name.
INSIDE=()
MOUNTS=$SLURM_SUBMIT_DIR:$SLURM_SUBMIT_DIR${CONTAINER_MOUNTS:+,$CONTAINER_MOUNTS}
case ${CONTAINER_RUNTIME:-} in
    '') ;;
    pyxis) INSIDE=(--container-image="$CONTAINER" --container-mounts="$MOUNTS" --container-workdir="$SLURM_SUBMIT_DIR") ;;
    apptainer) INSIDE=(apptainer exec --nv --bind "$MOUNTS" --pwd "$SLURM_SUBMIT_DIR" "$CONTAINER") ;;
    *) die "CONTAINER_RUNTIME=$CONTAINER_RUNTIME: pyxis and apptainer are known" ;;
esac

# A command, once on every node; what it says is led by the node's number.
on_nodes() {
    srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --label --kill-on-bad-exit=1 --wait=60 "${INSIDE[@]}" "$@"
}
on_one_node() { srun --nodes=1 --ntasks=1 "${INSIDE[@]}" "$@"; }

# A module of the program, in PER_NODE processes on every node. A launcher passes no signals on to
# a single process, so that gets none, unless it is to have DeepSpeed.
launch() {
    ((PER_NODE > 0)) || die "no GPU in this allocation: add --gpus-per-node=N to sbatch, or set PROCESSES_PER_NODE"
    export HYBRID_DIST_WORLD_SIZE=$((SLURM_NNODES * PER_NODE)) # the program refuses any other number
    if ((HYBRID_DIST_WORLD_SIZE == 1)) && [[ $LAUNCHER != zero* ]]; then
        on_nodes python -m "$@"
        return
    fi
    # The number of a machine is known inside its task only.
    # shellcheck disable=SC2016
    on_nodes bash -c 'exec accelerate-launch --config_file "$LAUNCHER_FILE" \
        --num_machines "$SLURM_NNODES" --num_processes "$HYBRID_DIST_WORLD_SIZE" \
        --machine_rank "$SLURM_PROCID" \
        --main_process_ip "$HEAD_ADDRESS" --main_process_port "$HEAD_PORT" -m "$@"' launch "$@"
}

# Before anything starts: equal versions on all nodes, their GPUs visible, FOLDER shared by them.
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
