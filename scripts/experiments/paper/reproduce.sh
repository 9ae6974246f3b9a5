#!/usr/bin/env bash
# Every experiment on a claim of the paper, at embedded size: tables and figures of each in a folder of its own. Nothing
# is downloaded but packages. Two CPU cores, about half an hour. Killed and started again, it goes on with what is missing.
#   bash scripts/experiments/paper/reproduce.sh [--output DIR] [--jobs N]
set -euo pipefail
cd "$(dirname "$0")/../../.."

output=outputs/paper jobs=2
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
  local name=$1 script=scripts/experiments/$2; shift 2
  if [ -f "$output/$name/results.json" ]; then echo "== $name: there already"; return; fi
  echo "== $name"
  local start=$SECONDS
  mkdir -p "$output/$name"
  if ! python "$script" "$@" --output "$output/$name" > "$output/$name/log.txt" 2>&1; then
    tail -n 20 "$output/$name/log.txt" >&2
    echo "$name failed; all of its output is in $output/$name/log.txt" >&2
    exit 1
  fi
  echo "== $name: $((SECONDS - start)) s"
}
export -f stage; export output

# stages of one thread, side by side
printf '%s\n' \
  "distillation distillation/distill.py" \
  "steering steering/steer.py" \
  "judging0 judging/judge_domains.py --seed 0" \
  "judging1 judging/judge_domains.py --seed 1" \
  "judging2 judging/judge_domains.py --seed 2" \
  "theory theory/verify_theory.py" | xargs -P "$jobs" -I{} bash -c 'stage {}'
# this one runs as many trainings side by side by itself
stage rewards reward_table/compare_rewards.py --jobs "$jobs" --rewards "EndoRM dense" "EndoRM dense, second round" \
  "EndoRM dense, as long again" "accuracy labels" "format only" random
python scripts/experiments/paper/second_round.py --results "$output/rewards/results.json"
