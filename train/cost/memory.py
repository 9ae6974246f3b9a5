"""What a run will take, before it is paid for: memory per GPU by part, tokens and forwards per rollout.

Weights, gradients and optimizer states are counted from the model's shape (built on the meta device, nothing is
loaded) and are exact up to the allocator's overhead. Activations, KV cache and the frozen forward are estimates.
"""

from dataclasses import dataclass

import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D

from rewards.frozen.lm_head import BLOCKS

GIB = 1024**3
HEADROOM = 0.9  # of a GPU's memory: the rest is CUDA's context, fragmentation and what is not counted
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
# what is split over the GPUs: Parameters, Gradients, Optimizer states, Frozen base
SPLIT = {
    "single": "",
    "ddp": "",
    "zero1": "O",
    "zero2": "OG",
    "zero3": "OGPF",
    "zero3_offload": "OGPF",
    "fsdp2": "OGPF",
}
MOMENTS = ("generation: KV cache or vLLM", "scoring: states and logits", "update: activations")  # never at once


@dataclass
class Shape:
    """What a plan needs to know of a model; counts of parameters, and widths of its layers."""

    parameters: int
    linear_parameters: int  # of every linear layer but the head: what 4 and 8 bit weights replace
    lora_parameters: int  # of rank 1 on these layers
    hidden: int
    layers: int
    query_width: int  # entries of queries a token and layer, heads x head size
    kv_width: int  # entries of keys and values a token and layer
    vocab: int
    intermediate: int


def read_shape(name_or_path: str) -> Shape:
    """Shape of a model of the hub or a folder, from its config alone."""
    return shape_of(AutoConfig.from_pretrained(name_or_path))


def shape_of(config: PretrainedConfig) -> Shape:
    """Shape of the model that a config describes."""
    config = config.get_text_config()
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    head = model.get_output_embeddings()
    # GPT-2 calls its linear layers Conv1D and keeps their weights transposed; PEFT and bitsandbytes take them too
    linear = [m for m in model.modules() if isinstance(m, (torch.nn.Linear, Conv1D)) and m is not head]
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        linear_parameters=sum(m.weight.numel() for m in linear),
        lora_parameters=sum(sum(m.weight.shape) for m in linear),
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        query_width=config.num_attention_heads * head_dim,
        kv_width=2 * heads * head_dim,
        vocab=config.vocab_size,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
    )


@dataclass
class Plan:
    """`parts`: bytes per GPU by part. `work`: what a rollout and the updates on it do."""

    parts: dict[str, int]
    work: dict[str, int]

    @property
    def peak(self) -> int:
        """Bytes per GPU at the fullest moment: all that stays, and the largest of MOMENTS."""
        stays = sum(size for part, size in self.parts.items() if part not in MOMENTS)
        return stays + max(self.parts[part] for part in MOMENTS)


def make_plan(shape: Shape, recipe: dict, launcher: str, gpus: int, memory: int = 80 * GIB) -> Plan:
    """Plan of a run.

    Args:
        shape: the policy's.
        recipe: the recipe's fields with defaults filled in, and `algorithm`, "ppo" or "grpo".
        launcher: name of a file in configs/accelerate, without its ending.
        gpus: processes.
        memory: bytes of one GPU, of which a colocated vLLM takes the recipe's share.

    Raises:
        ValueError: a launcher or a dtype that is not known, or no GPU.
    """
    name = launcher.removeprefix("cpu_")
    if name not in SPLIT:
        raise ValueError(f"Unknown launcher {launcher!r}; known: {', '.join(SPLIT)}.")
    if gpus < 1:
        raise ValueError(f"A run needs at least one GPU, got {gpus}.")

    def share(size: int, part: str) -> int:
        return size // gpus if part in SPLIT[name] else size

    lora, bf16 = bool(recipe["use_peft"]), bool(recipe["bf16"])
    loaded = _bytes_of(recipe["dtype"] or "float32")
    trained = shape.lora_parameters * recipe["lora_r"] if lora else shape.parameters
    # DeepSpeed's bf16 keeps bf16 weights and gradients and, in the optimizer, fp32 master weights
    deepspeed_bf16 = name.startswith("zero") and bf16
    weight = 2 if deepspeed_bf16 else loaded
    own = weight  # of one trained parameter, and of its gradient
    if lora and (recipe["load_in_4bit"] or recipe["load_in_8bit"]):
        own = 2  # TRL makes them bf16
    elif lora and not deepspeed_bf16 and not name.startswith("zero3"):
        own = 4  # PEFT makes them fp32, which TRL forbids under ZeRO-3
    states = 12 if deepspeed_bf16 else 2 * own
    compute = 2 if bf16 else loaded
    policy = weights_of(shape, recipe, weight) + (trained * own if lora else 0)
    frozen = 0 if lora else shape.parameters * _bytes_of(recipe["frozen_dtype"] or recipe["dtype"] or "float32")

    micro = recipe["per_device_train_batch_size"]
    rollout = micro * (recipe["steps_per_generation"] or recipe["gradient_accumulation_steps"])
    length = recipe["max_prompt_length"] + recipe["max_completion_length"]
    batch_tokens = max(recipe["frozen_batch_tokens"], length)
    layer = (10 * shape.hidden + 3 * shape.intermediate) * compute  # of one token, one layer, kept for its backward
    kept_layers = 1 if recipe["gradient_checkpointing"] else shape.layers
    checkpoints = shape.layers * shape.hidden * compute
    rows, columns = BLOCKS["cuda"]
    critic = recipe["algorithm"] == "ppo"  # it keeps the frozen hidden states of a rollout
    features = critic * rollout * recipe["max_completion_length"] * shape.hidden * compute
    split_policy = "P" in SPLIT[name]
    if recipe["use_vllm"]:  # on this GPU, or on the server's
        generation = int(recipe["vllm_gpu_memory_utilization"] * memory) if recipe["vllm_mode"] == "colocate" else 0
        stays = 0 if recipe["vllm_enable_sleep_mode"] else generation
    else:
        generation = rollout * length * shape.kv_width * shape.layers * compute
        generation += shape.parameters * compute if split_policy else 0  # TRL gathers the whole policy to generate
        stays = 0
    parts = {
        "policy": share(policy, "P"),
        "gradients": share(trained * own, "G"),
        "optimizer (AdamW)": 0 if name == "zero3_offload" else share(trained * states, "O"),
        "frozen base": share(frozen, "F"),
        "layers gathered from other GPUs": 2 * shape.parameters * compute // shape.layers if split_policy else 0,
        "vLLM, always awake": stays,
        MOMENTS[0]: generation - stays,
        MOMENTS[1]: batch_tokens * layer + features + rows * min(columns, shape.vocab) * 4,
        MOMENTS[2]: micro * length * (layer * kept_layers + checkpoints),
    }
    epochs = recipe["num_iterations"]
    work = {
        "responses a rollout, all GPUs": rollout * gpus,
        "tokens a rollout, at most": rollout * gpus * length,
        "updates a rollout": max(1, rollout * epochs // (micro * recipe["gradient_accumulation_steps"])),
        "frozen forwards a rollout and GPU, full length": -(-rollout // (batch_tokens // length)),
        "policy forwards a rollout and GPU": rollout // micro * (epochs + 1),
    }
    return Plan(parts, work)


def _bytes_of(dtype: str) -> int:
    if dtype not in BYTES:
        raise ValueError(f"Unknown dtype {dtype!r}; known: {', '.join(BYTES)}.")
    return BYTES[dtype]


def weights_of(shape: Shape, recipe: dict, weight: int) -> int:
    """Bytes of a model's weights. bitsandbytes quantizes the linear layers: NF4 is 4 bits and, for each 64 entries, an
    fp32 scale, which nested quantization makes 8 bits; 8-bit is a byte, and its fp32 scale a row is left out."""
    if recipe["load_in_4bit"]:
        bits = 4 + (8 if recipe["use_bnb_nested_quant"] else 32) / 64
    elif recipe["load_in_8bit"]:
        bits = 8
    else:
        bits = 8 * weight
    return int(shape.linear_parameters * bits / 8) + (shape.parameters - shape.linear_parameters) * weight


def proposals(shape: Shape, recipe: dict, launcher: str, gpus: int, memory: int) -> list[str]:
    """Changes, each with its peak, that would make a run fit into GPUs of `memory` bytes; cheapest first."""
    steps = max(1, (recipe["steps_per_generation"] or recipe["gradient_accumulation_steps"]) // 4)
    lora = {"use_peft": True, "dtype": "bfloat16"}
    qlora = lora | {"load_in_4bit": True, "use_bnb_nested_quant": True}
    options = [
        ("frozen_dtype: bfloat16", {"frozen_dtype": "bfloat16"}, launcher),
        (
            f"a quarter of the rollout at a time (steps_per_generation: {steps})",
            {"steps_per_generation": steps},
            launcher,
        ),
        ("--config_file configs/accelerate/zero3.yaml", {}, "zero3"),
        ("ZeRO-3 and a quarter of the rollout", {"steps_per_generation": steps}, "zero3"),
        ("LoRA (use_peft: true, dtype: bfloat16)", lora, launcher),
        ("LoRA and a quarter of the rollout", lora | {"steps_per_generation": steps}, launcher),
        ("QLoRA (load_in_4bit: true) and a quarter of the rollout", qlora | {"steps_per_generation": steps}, launcher),
    ]
    found = []
    for text, changes, other in options:
        nothing_new = other == launcher and all(recipe.get(k) == v for k, v in changes.items())
        if nothing_new or (other == "zero3" and gpus == 1):
            continue
        peak = make_plan(shape, recipe | changes, other, gpus, memory).peak
        if peak <= HEADROOM * memory:
            found.append(f"{text}: {peak / GIB:.1f} GiB")
    return found
