#!/bin/bash
# One run on several hosts without a scheduler, under DDP. Start it on each, with its number from 0:
#   PROCESSES=8 examples/torchrun_hosts.sh 0 2 10.0.0.1 --config configs/xlmr-large-hybrid.yaml --run.name big
#   PROCESSES=8 examples/torchrun_hosts.sh 1 2 10.0.0.1 --config configs/xlmr-large-hybrid.yaml --run.name big
# The second number is that of hosts, the address that of host 0. run.dir is on a disk that all share. For FSDP2
# and ZeRO use accelerate-launch with a launcher file, as in examples/kubernetes/jobset.yaml.
# kill -USR2 or Ctrl-C on one host saves on all; the same commands resume.
#
# Checked: two starts of it on one machine, on CPUs (tests/launched/test_hosts.py). Not checked: two machines, GPUs.
set -euo pipefail
[[ $# -ge 4 ]] || { echo "usage: PROCESSES=8 $0 NUMBER HOSTS ADDRESS --config FILE ..." >&2; exit 2; }
NUMBER=$1 HOSTS=$2 ADDRESS=$3
shift 3

export HYBRID_DIST_WORLD_SIZE=$((HOSTS * ${PROCESSES:-8})) # any other number is an error
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR2 PET_SHUTDOWN_TIMEOUT=300
export OMP_NUM_THREADS=1 # hybrid_dist shares the cores itself
exec torchrun --nnodes="$HOSTS" --node_rank="$NUMBER" --nproc_per_node="${PROCESSES:-8}" \
    --master_addr="$ADDRESS" --master_port="${PORT:-29500}" -m hybrid_dist.train "$@"
