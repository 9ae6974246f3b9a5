#!/usr/bin/env bash
# Every claim of the paper at embedded size, no download but the packages: one page with all tables and figures. Two CPU
# cores, under an hour. Killed and started again, it goes on with what is missing.
#   bash scripts/experiments/paper/reproduce.sh [--output DIR] [--jobs N]
set -euo pipefail
cd "$(dirname "$0")/.."

output=outputs/mini jobs=2
while [ $# -gt 0 ]; do
  case "$1" in
    --output) output=$2 ;;
    --jobs) jobs=$2 ;;
    *) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift 2
done

. scripts/setup_env.sh
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TQDM_DISABLE=1 PYTHONWARNINGS="ignore::FutureWarning,ignore::DeprecationWarning"
mkdir -p "$output"

stage() { # name, script, arguments; its output goes to a file, which is shown if it fails
  local name=$1; shift
  if [ -f "$output/$name/results.json" ]; then echo "== $name: there already"; return; fi
  echo "== $name"
  local start=$SECONDS
  mkdir -p "$output/$name"
  if ! python "$@" --output "$output/$name" > "$output/$name/log.txt" 2>&1; then
    tail -n 20 "$output/$name/log.txt" >&2
    echo "$name failed; all of its output is in $output/$name/log.txt" >&2
    exit 1
  fi
  echo "== $name: $((SECONDS - start)) s"
}
export -f stage; export output SECONDS

# stages of one thread, side by side
printf '%s\n' "distillation scripts/experiments/distillation/distill.py" "steering scripts/experiments/steering/steer.py" \
  "judge0 scripts/experiments/judging/judge_domains.py --seed 0" "judge1 scripts/experiments/judging/judge_domains.py --seed 1" "judge2 scripts/experiments/judging/judge_domains.py --seed 2" \
  "theory scripts/experiments/theory/verify_theory.py" | xargs -P "$jobs" -I{} bash -c 'stage {}'
stage rewards scripts/experiments/reward_table/compare_rewards.py --jobs "$jobs" --rewards "EndoRM dense" "EndoRM dense, second round" \
  "EndoRM dense, as long again" "accuracy labels" "format only" random

