#!/usr/bin/env bash
# Sets up the environment as demo.sh does, lints, and passes the tests. Arguments go to pytest: bash scripts/test.sh -k ppo
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/setup_env.sh
# for the QLoRA tests only: elsewhere it greets every import of transformers with a warning about CPU kernels
python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("bitsandbytes") is None)' ||
  python -m pip install -qq --disable-pip-version-check -e '.[qlora]'
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # two workers: threads of their own would only wait
ruff check .
ruff format --check .
python -m pytest -n 2 --dist worksteal "$@"
