#!/usr/bin/env bash
# Between the demo and 7B: trains a 38M-parameter base from scratch, improves it by PPO with the reward inside its own
# frozen copy, evaluates both with 16 samples beside greedy and low-temperature decoding of the base, writes a report.
# One GPU of 80 GB; NOT yet run at that size by us. Killed and started again, it goes on: with the next stage, within PPO
# from a checkpoint, within an evaluation from its samples; only the base starts anew. GSM8K and MATH come from the hub,
# or from --data FOLDER (gsm8k_train and math_train, and gsm8k if there is one, as .jsonl or .jsonl.gz).
#   bash scripts/middle_size.sh [--minutes 10] [--data FOLDER] [--output DIR] [--seed N] [--rehearse]
# --rehearse: all of it with a tiny model and a few steps, on a CPU in minutes; its numbers mean nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=10 data="" output="" seed=0 rehearse=""
while [ $# -gt 0 ]; do
  case "$1" in
    --minutes) minutes=$2; shift ;;
    --data) data=$2; shift ;;
    --output) output=$2; shift ;;
    --seed) seed=$2; shift ;;
    --rehearse) rehearse=yes ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift
done
output=${output:-outputs/middle${rehearse:+_rehearsal}}

base=(--minutes "$minutes") ppo=() eval=(--max_tokens 256 --batch_size 512 --limit 500) k=16
if [ "$rehearse" ]; then
  base=(--minutes "$minutes" --steps 20 --hidden 64 --layers 2 --vocab_size 512 --batch_tokens 1024 --length 256
    --n_train 40 --n_heldout 8)
  ppo=(--use_cpu true --bf16 false --max_steps 4 --per_device_train_batch_size 4 --steps_per_generation 2
    --max_completion_length 16 --max_prompt_length 1024 --eval_steps 2 --save_steps 2 --max_heldout_samples 4
    --per_device_eval_batch_size 4 --logging_steps 1)
  eval=(--max_tokens 16 --batch_size 16 --limit 8 --device cpu --workers 1) k=2
fi
if [ "$data" ]; then
  base+=(--data "$data") eval+=(--data "$data")
fi
# GSM8K's test set; without it the part of the training set that the base has not read
gsm8k=gsm8k
[ -z "$data" ] || compgen -G "$data/gsm8k.json*" > /dev/null || gsm8k=gsm8k_heldout=$output/data/gsm8k_heldout.jsonl

. scripts/setup_env.sh
export PYTHONWARNINGS="ignore::FutureWarning,ignore::DeprecationWarning" TQDM_MININTERVAL=2

echo "== 1/4 base: from scratch on synthetic word problems, GSM8K and MATH"
if [ -f "$output/base/base.json" ]; then
  echo "there already"
else
  python scripts/make_middle_base.py --output "$output/base" --seed "$seed" "${base[@]}"
fi

echo "== 2/4 PPO: the base improves itself with the reward inside its own frozen copy"
finished() {
  [ -f "$output/ppo/trainer_state.json" ] &&
    python -c 'import json, sys; s = json.load(open(sys.argv[1])); sys.exit(s["global_step"] < s["max_steps"])' \
      "$output/ppo/trainer_state.json"
}
if finished; then
  echo "there already"
else
  accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no train/ppo_endorm.py \
    --config configs/middle/ppo.yaml --seed "$seed" --model_name_or_path "$output/base" \
    --dataset_name "$output/data/train.jsonl" --heldout_name "$output/data/heldout.jsonl" \
    --output_dir "$output/ppo" --resume_from_checkpoint latest "${ppo[@]}"
  finished || { echo "PPO was stopped before its end; the same command goes on with it" >&2; exit 1; }
fi

echo "== 3/4 evaluation on held-out problems"
evaluate() { # folder of results, model, then how it is decoded
  local folder=$output/eval/$1 model=$2
  shift 2
  [ -f "$folder/results.json" ] && { echo "$folder: there already"; return; }
  python scripts/eval_math.py --model "$model" --output "$folder" --template question-answer --seed "$seed" \
    --benchmarks "synthetic=$output/data/heldout.jsonl" "$gsm8k" "${eval[@]}" "$@"
}
evaluate base "$output/base" --samples "$k" --temperature 1
evaluate greedy "$output/base" --samples 1 --temperature 0
evaluate low_temperature "$output/base" --samples "$k" --temperature 0.3
evaluate policy "$output/ppo" --samples "$k" --temperature 1

echo "== 4/4 report"
python scripts/report.py "base=$output/eval/base" "greedy=$output/eval/greedy" \
  "low_temperature=$output/eval/low_temperature" "policy=$output/eval/policy" "$output/ppo" --output "$output/report"
