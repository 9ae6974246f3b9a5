# Sourced by demo.sh and test.sh: a virtual environment in .venv with the project installed, made once.
# Set PYTHON to choose the interpreter (3.11 or newer). Delete .venv to start over.
# Who sources it may set endorm_venv, another folder than .venv, and endorm_packages, what else to install there.
endorm_venv=${endorm_venv:-.venv}
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  echo "Python 3.11 or newer is needed; '$python' is not. Set PYTHON to one, e.g. PYTHON=python3.12 bash $0" >&2
  exit 1
}
[ -x "$endorm_venv/bin/python" ] || "$python" -m venv "$endorm_venv"
stamp=$endorm_venv/.installed
if ! cmp -s pyproject.toml "$stamp"; then
  echo "Installing into $endorm_venv (once; a minute or two, longer with the CUDA build of torch) ..."
  install=("$endorm_venv/bin/python" -m pip install -qq --disable-pip-version-check)
  "${install[@]}" 'torch==2.13.*'
  "${install[@]}" ${endorm_packages:-} -e '.[dev]'
  cp pyproject.toml "$stamp"
fi
export PATH="$PWD/$endorm_venv/bin:$PATH"
export TOKENIZERS_PARALLELISM=false
