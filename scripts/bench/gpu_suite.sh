#!/usr/bin/env bash
# Everything about speed and memory that one GPU can tell, in order of worth, until the minutes are spent.
#   bash scripts/bench/gpu_suite.sh [--minutes 25] [--output outputs/gpu_suite] [--small]
# Each step leaves a JSON file and a log. The same command goes on with the steps that are missing; a step that failed is
# tried again. --small rehearses all of them with a tiny shape, also on a CPU, in ten minutes. Needs no network.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ ! -x .venv/bin/python ] || PATH=$PWD/.venv/bin:$PATH
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONWARNINGS=ignore
exec python scripts/bench/gpu_suite.py "$@"
