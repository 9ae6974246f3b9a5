#!/usr/bin/env bash
# The same training on machines without Slurm: run this on every machine, with the same arguments and its own NODE_RANK.
#   MASTER_ADDR=10.0.0.1 NNODES=4 NODE_RANK=0 GPUS=8 bash scripts/cluster/launch_nodes.sh ppo RECIPE ACCELERATE_FILE OUTPUT [--any_field value]
# OUTPUT lies on storage that all machines share. `touch OUTPUT/stop` ends the run with a checkpoint; the same command resumes.
set -euo pipefail
if [ $# -lt 4 ]; then
  sed -n '3s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
algorithm=$1 recipe=$2 launcher=$3 output=$4
shift 4
nodes=${NNODES:-1}
exec accelerate launch --config_file "$launcher" --num_machines "$nodes" --machine_rank "${NODE_RANK:-0}" \
  --num_processes "$((${GPUS:-1} * nodes))" --main_process_ip "${MASTER_ADDR:-127.0.0.1}" \
  --main_process_port "${MASTER_PORT:-29500}" "train/${algorithm}_endorm.py" \
  --config "$recipe" --output_dir "$output" --resume_from_checkpoint latest "$@"
