#!/usr/bin/env bash
# One training on several machines: run this on every machine, with the same arguments and its own NODE_RANK.
#   MASTER_ADDR=10.0.0.1 NNODES=4 NODE_RANK=0 GPUS=8 bash scripts/cluster/launch_nodes.sh ppo RECIPE ACCELERATE_FILE OUTPUT [--any_field value]
# OUTPUT lies on storage that all machines share. `touch OUTPUT/stop`, or SIGTERM or SIGUSR1 to this script, ends the
# run with a checkpoint; the same command resumes. SETUP is a command that is run first, e.g. ". .venv/bin/activate".
# train.sbatch starts this on the nodes of a Slurm job.
set -uo pipefail
if [ $# -lt 4 ]; then
  sed -n '3s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
root=$(cd "$(dirname "$0")/../.." && pwd)
algorithm=$1 recipe=$2 launcher=$3 output=$4
shift 4
nodes=${NNODES:-1} rank=${NODE_RANK:-0} gpus=${GPUS:-1}
if [ "${SLURM_GPUS_ON_NODE:-$gpus}" != "$gpus" ]; then
  echo "node $rank has $SLURM_GPUS_ON_NODE GPUs and the first one $gpus: ask for --gpus-per-node, all nodes need as many" >&2
  exit 2
fi
mkdir -p "$output"

# A signal may come at any time, while Python still imports or in a step of minutes: this script alone hears it, and the
# training sees the file at the end of its step. A file with words in it is a launcher's, an empty one a user's, who
# does not want the run to go on.
ask() {
  echo "$1: asking the training to save and stop"
  [ -e "$output/stop" ] && return
  echo "${SLURM_JOB_ID:-launch_nodes.sh} was told by $1" >"$output/.stop.$rank" && mv "$output/.stop.$rank" "$output/stop"
}
trap 'ask SIGTERM' TERM
trap 'ask SIGUSR1' USR1
forget() { # of a start that is over; train.sbatch and the training know better which one that is under Slurm
  if [ -z "${SLURM_JOB_ID:-}" ] && [ "$rank" = 0 ] && [ -s "$output/stop" ]; then rm -f "$output/stop"; fi
}
forget

eval "${SETUP:-}"
script=train/${algorithm}_endorm.py
if [ ! -f "$script" ]; then # started from another folder than the project's
  script=$root/$script
  [ -f "$recipe" ] || recipe=$root/$recipe
  [ -f "$launcher" ] || launcher=$root/$launcher
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
# Slurm signals every process of a step. torch's agent, when it hears SIGTERM, gives its workers 30 seconds and kills
# them, whatever they were about to save: neither it nor a worker that still imports may hear it.
export PET_SIGNALS_TO_HANDLE=SIGINT,SIGHUP,SIGQUIT
(
  trap '' TERM USR1
  trap - INT QUIT # which bash has a job in the background ignore
  exec accelerate launch --config_file "$launcher" --num_machines "$nodes" --machine_rank "$rank" \
    --num_processes "$((gpus * nodes))" --main_process_ip "${MASTER_ADDR:-127.0.0.1}" \
    --main_process_port "${MASTER_PORT:-29500}" "$script" \
    --config "$recipe" --output_dir "$output" --resume_from_checkpoint latest "$@"
) &
training=$!
while :; do # a signal ends a wait early
  wait "$training"
  status=$?
  kill -0 "$training" 2>/dev/null || break
done
forget
exit "$status"
