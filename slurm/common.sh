# shellcheck shell=bash
# What every batch file needs to know of its job. Sourced inside the job, from the submit folder.
set -euo pipefail

die() { echo "slurm/common.sh: $*" >&2; exit 2; }

[[ -n ${SLURM_JOB_ID:-} ]] || die "this runs inside a job; start it with sbatch"

# The site's own settings (site.env.example says which); what sbatch needs is already in force.
if [[ -f $SLURM_SUBMIT_DIR/slurm/site.env ]]; then
    # shellcheck source=/dev/null
    source "$SLURM_SUBMIT_DIR/slurm/site.env"
fi

LAUNCHER=${LAUNCHER:-ddp}
LAUNCHER_FILE=$SLURM_SUBMIT_DIR/launchers/$LAUNCHER.yaml
[[ -f $LAUNCHER_FILE ]] || die "LAUNCHER=$LAUNCHER: no file $LAUNCHER_FILE"

# Processes on each node: one per GPU of the allocation, unless told.
PER_NODE=${PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-}}
[[ -n $PER_NODE ]] || die "no GPU in this allocation: add --gpus-per-node=N to sbatch, or set PROCESSES_PER_NODE"
export PER_NODE LAUNCHER_FILE
export HYBRID_DIST_WORLD_SIZE=$((SLURM_NNODES * PER_NODE)) # the program refuses any other number

# All ranks meet at the first node's address, as SLURM knows it. The port comes from the job's
# number, and lies below those that the system hands out by itself.
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
HEAD_ADDRESS=$(scontrol show node "$HEAD" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
HEAD_PORT=$((20000 + SLURM_JOB_ID % 10000))
export HEAD_ADDRESS HEAD_PORT

# srun does not take the cores of a task over from sbatch since SLURM 22.05.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
# accelerate passes signals on to the processes, and waits for them to save.
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2 PET_SHUTDOWN_TIMEOUT=300
export OMP_NUM_THREADS=1 # the program shares a node's cores out itself

echo "job $SLURM_JOB_ID: $SLURM_NNODES nodes x $PER_NODE processes ($LAUNCHER), head $HEAD_ADDRESS:$HEAD_PORT"
