#!/usr/bin/env bash
# Sets up the environment as demo.sh does, lints, checks types, and runs the tests that this machine can run.
#   bash scripts/test.sh            all of them: some minutes
#   bash scripts/test.sh --fast     without those that launch processes or train: under a minute
# Other arguments go to pytest: bash scripts/test.sh -k ppo
set -euo pipefail
cd "$(dirname "$0")/.."
arguments=()
for argument in "$@"; do
  if [ "$argument" = --fast ]; then
    arguments+=(-m "not slow and not cluster and not vllm and not browser")
  else
    arguments+=("$argument")
  fi
done
. scripts/setup_env.sh
# for the QLoRA tests only: elsewhere it greets every import of transformers with a warning about CPU kernels
python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("bitsandbytes") is None)' ||
  python -m pip install -qq --disable-pip-version-check -e '.[qlora]'
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two workers: threads of their own would only wait
ruff check .
ruff format --check .
if grep -q '^\[tool\.mypy\]' pyproject.toml; then
  mypy
fi
python -m pytest -n 2 --dist worksteal ${arguments[@]+"${arguments[@]}"}
