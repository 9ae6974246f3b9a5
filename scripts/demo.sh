#!/usr/bin/env bash
# The embedded experiment, no download but the packages: trains a small base LM on noisy demonstrations, improves it with
# the reward inside its own frozen copy, and evaluates both on held-out problems. Two CPU cores, about three minutes.
#   bash scripts/demo.sh [--algo ppo|grpo] [--seed N] [--output DIR]
set -euo pipefail
cd "$(dirname "$0")/.."

algo=ppo seed=0 output=outputs/demo
while [ $# -gt 0 ]; do
  case "$1" in
    --algo) algo=$2 ;;
    --seed) seed=$2 ;;
    --output) output=$2 ;;
    *) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift 2
done
[ "$algo" = ppo ] || [ "$algo" = grpo ] || { echo "--algo must be ppo or grpo, not $algo" >&2; exit 2; }

. scripts/setup_env.sh
export HF_HUB_OFFLINE=1 PYTHONWARNINGS="ignore::FutureWarning,ignore::DeprecationWarning" TQDM_MININTERVAL=2
start=$SECONDS

echo "== 1/3 base: a small LM learns from noisy demonstrations"
python scripts/experiments/arithmetic/make_base.py --output "$output/base" --data_dir "$output/data" --seed "$seed"

echo "== 2/3 ${algo}: the base improves itself with the reward inside its own frozen copy"
accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
  "train/${algo}_endorm.py" --config "configs/demo/${algo}.yaml" --seed "$seed" --model_name_or_path "$output/base" \
  --dataset_name "$output/data/train.jsonl" --output_dir "$output/$algo"

echo "== 3/3 evaluation on held-out problems"
python scripts/experiments/arithmetic/evaluate_arithmetic.py --base "$output/base" --policy "$output/$algo" --name "${algo}_endorm" \
  --data "$output/data/heldout.jsonl" --output "$output" --seed "$seed" --seconds_so_far $((SECONDS - start))
