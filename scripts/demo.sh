#!/usr/bin/env bash
# A language model improves itself with the reward inside its own frozen copy: no label, no GPU, no model hub.
#   bash scripts/demo.sh [--task capitals|word_problems|arithmetic] [--algo ppo|grpo] [--seed N] [--output DIR]
# capitals, word_problems: a real chat model, SmolLM2-135M-Instruct (from a package of 93 MB, 4-bit weights), on questions
#   with a checkable short answer; two CPU cores, five minutes, 6 GiB of memory. capitals is the default.
# arithmetic: a model of 0.36M parameters, trained first on noisy demonstrations; two minutes, 1 GiB. It is also what
#   runs where the package of the real model cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."

task=capitals algo=ppo seed=0 output=outputs/demo
while [ $# -gt 0 ]; do
  case "$1" in
    --task) task=${2-} ;;
    --algo) algo=${2-} ;;
    --seed) seed=${2-} ;;
    --output) output=${2-} ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift; shift || { echo "the last flag has no value" >&2; exit 2; }
done
[ "$algo" = ppo ] || [ "$algo" = grpo ] || { echo "--algo must be ppo or grpo, not $algo" >&2; exit 2; }
case "$task" in
  capitals|word_problems|arithmetic) ;;
  *) echo "--task must be capitals, word_problems or arithmetic, not $task" >&2; exit 2 ;;
esac

. scripts/setup_env.sh
export PYTHONWARNINGS="ignore::FutureWarning,ignore::DeprecationWarning" TQDM_MININTERVAL=2
start=$SECONDS
launch() { # the entry script of the algorithm, in one process
  accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no "train/${algo}_endorm.py" "$@"
  if [ -f "$output/$algo/interrupted.json" ]; then # it has saved and ended well, but half a training is not evaluated
    echo "The training was told to stop before its end: run the same command again." >&2
    exit 1
  fi
}

if [ "$task" != arithmetic ]; then
  model=outputs/SmolLM2-135M-Instruct experiment=scripts/experiments/self_improvement
  echo "== 1/3 model: SmolLM2-135M-Instruct"
  status=0
  python scripts/get_model.py --output "$model" --memory 6 || status=$?
  if [ "$status" = 3 ]; then
    echo "The real model cannot be fetched here, so the arithmetic task runs in its place (--task arithmetic)."
    task=arithmetic
  elif [ "$status" != 0 ]; then
    exit "$status"
  fi
fi
export HF_HUB_OFFLINE=1

if [ "$task" = arithmetic ]; then
  echo "== 1/3 base: a small LM learns from noisy demonstrations"
  python scripts/experiments/arithmetic/make_base.py --output "$output/base" --data_dir "$output/data" --seed "$seed"

  echo "== 2/3 ${algo}: the base improves itself with the reward inside its own frozen copy"
  launch --config "configs/demo/${algo}.yaml" --seed "$seed" --model_name_or_path "$output/base" \
    --dataset_name "$output/data/train.jsonl" --output_dir "$output/$algo"

  echo "== 3/3 evaluation on held-out problems"
  python scripts/experiments/arithmetic/evaluate_arithmetic.py --base "$output/base" --policy "$output/$algo" --name "${algo}_endorm" \
    --data "$output/data/heldout.jsonl" --output "$output" --seed "$seed" --seconds_so_far $((SECONDS - start))
  exit
fi

rm -rf "$output/samples" # of an earlier policy or seed
python "$experiment/write_questions.py" --task "$task" --output "$output/data"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(nproc 2>/dev/null || echo 2)}" # accelerate would take one thread
reward=capital tokens=24
[ "$task" = capitals ] || { reward=word_problem tokens=64; }
bf16=false dtype=float32 # cores without arithmetic in bf16 would imitate it, slowly
grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo 2>/dev/null && { bf16=true dtype=bfloat16; }

echo "== 2/3 ${algo}: the model improves itself with the reward inside its own frozen copy"
launch --config "configs/demo/capitals_${algo}.yaml" --seed "$seed" --model_name_or_path "$model" --bf16 "$bf16" \
  --dataset_name "$output/data/train.jsonl" --heldout_name "$output/data/heldout.jsonl" --output_dir "$output/$algo" \
  --reward_funcs endorm "train.tasks.${task}.${reward}_accuracy" --max_completion_length "$tokens" \
  --metric_for_best_model "rewards/${reward}_accuracy/mean"

echo "== 3/3 evaluation on held-out questions"
python "$experiment/evaluate_chat.py" --task "$task" --base "$model" --policy "$output/$algo" --name "${algo}_endorm" \
  --data "$output/data/heldout.jsonl" --output "$output" --seed "$seed" --dtype "$dtype" --seconds_so_far $((SECONDS - start))
