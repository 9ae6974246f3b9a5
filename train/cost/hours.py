"""Seconds and GPU-hours of a recipe with ZeRO-3 on H100s, on paper: FLOPs, bytes and the speeds they are taken at.

Work is counted from the model's shape and the recipe. How fast it goes is an assumption with a range, named as one,
unless a measurement says it. Three cases: `least`, `central` and `most` are what a run costs if all assumptions are
kind, likely or unkind at once, so that the ends are wider than any single doubt.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.cost.memory import Shape, shape_of
from train.cost.shapes import PRESETS, preset_config

# NVIDIA H100 SXM5 80 GB, data sheet: dense bf16 FLOP/s, fp32 FLOP/s, bytes/s of HBM3, NVLink bytes/s in one direction;
# and of DGX H100: GPUs of a node, bytes/s in one direction of a GPU's own 400 Gb/s network port.
PEAK_FLOPS, PEAK_FP32, HBM, NVLINK = 989e12, 67e12, 3.35e12, 450e9
NODE, PORT = 8, 50e9
CASES = ("least", "central", "most")


@dataclass(frozen=True)
class Assumption:
    """A number that the shape and the recipe do not tell, in the order of CASES, and where it is from."""

    values: tuple[float, float, float]
    what: str
    source: str = "assumption"


ASSUMPTIONS = {
    "prompt_tokens": Assumption((100, 150, 250), "mean tokens of a prompt"),
    "longest_prompt": Assumption((400, 700, 1024), "tokens of a rollout's longest prompt, to which others are padded"),
    "completion_tokens": Assumption((400, 600, 1024), "mean tokens of a response"),
    "frozen_mfu": Assumption((0.55, 0.45, 0.30), "share of the peak FLOP/s in the frozen forward"),
    "forward_mfu": Assumption((0.50, 0.40, 0.25), "the same in the policy's forwards, padded and with masks"),
    "update_mfu": Assumption((0.50, 0.40, 0.25), "the same in forward and backward of the update"),
    "hbm_share": Assumption((0.8, 0.6, 0.4), "share of the peak memory bandwidth while decoding"),
    "step_seconds": Assumption((0.020, 0.030, 0.050), "least seconds of a decoding step of transformers"),
    "vllm_step_seconds": Assumption((0.001, 0.003, 0.006), "the same of vLLM"),
    "network_share": Assumption((0.85, 0.70, 0.50), "share of the peak bandwidth in gathers and reductions"),
    "hidden_share": Assumption((1.0, 0.5, 0.0), "share of communication that goes on during computation"),
    "disk": Assumption((10e9, 3e9, 1e9), "bytes/s that a node writes checkpoints with"),
}


@dataclass
class Line:
    """One part of a run: seconds by case, and the arithmetic of the central one."""

    part: str
    arithmetic: str
    seconds: dict[str, float]


def forward_flops(shape: Shape, tokens: int, pairs: int, states: int) -> dict[str, int]:
    """FLOPs of a forward by part, 2 for each multiply and add; norms, rotations and softmax are left out.

    Args:
        shape: the model's.
        tokens: through the backbone's linear layers.
        pairs: of query and key; T (T + 1) / 2 in T tokens of a causal kernel, T^2 where a mask is given to it.
        states: through the head.
    """
    return {
        "backbone": 2 * shape.linear_parameters * tokens,
        "attention": 4 * shape.query_width * shape.layers * pairs,
        "head": 2 * shape.hidden * shape.vocab * states,
    }


def measured_utilisation(result: Mapping) -> tuple[float, float, float] | None:
    """Share of an H100's peak that a result of kind "scoring" in bf16 reached, its repeats' best, median and worst;
    None for a result that does not tell."""
    settings = result.get("settings", {})
    known = {"preset", "vocab_size", "batch", "prompt_tokens", "response_tokens"} <= settings.keys()
    if result.get("kind") != "scoring" or "H100" not in result.get("device", "") or not known:
        return None
    lengths = settings["response_tokens"]
    if settings.get("dtype") != "bfloat16" or settings["preset"] not in PRESETS or not isinstance(lengths, int):
        return None
    shape = shape_of(preset_config(settings["preset"], settings["vocab_size"]))
    rows, length = settings["batch"], settings["prompt_tokens"] + lengths
    flops = forward_flops(shape, rows * length, rows * length * (length + 1) // 2, rows * (lengths + 1))
    times = result["seconds"]["ours"]
    ideal = sum(flops.values()) / PEAK_FLOPS
    return ideal / min(times), ideal / statistics.median(times), ideal / max(times)


def with_measurements(results: Mapping[str, Mapping]) -> dict[str, Assumption]:
    """ASSUMPTIONS, the frozen forward's share of the peak replaced by the one of the largest model that was measured.

    Args:
        results: {file name: result}.
    """
    found = {name: values for name, r in results.items() if (values := measured_utilisation(r))}
    if not found:
        return dict(ASSUMPTIONS)
    sizes = list(PRESETS)
    name = max(found, key=lambda n: sizes.index(results[n]["settings"]["preset"]))
    measured = Assumption(found[name], ASSUMPTIONS["frozen_mfu"].what, f"measured, {name}")
    return ASSUMPTIONS | {"frozen_mfu": measured}


def estimate(
    shape: Shape, recipe: Mapping, gpus: int, prompts: int, assumptions: Mapping[str, Assumption] = ASSUMPTIONS
) -> list[Line]:
    """Seconds of a full fine-tune, part by part, over all epochs.

    Args:
        shape: of policy and frozen base.
        recipe: the recipe's fields with defaults filled in, and `algorithm`, "ppo" or "grpo".
        gpus: processes. The recipe's batches are read for a node of 8: with more GPUs rollouts and updates keep their
            size, and each GPU gets a smaller share.
        prompts: of the dataset.
        assumptions: by the names of ASSUMPTIONS.

    Raises:
        ValueError: a recipe with LoRA, which this arithmetic does not cover, or responses that do not divide evenly.
    """
    if recipe["use_peft"]:
        raise ValueError("The estimate is for full fine-tuning: choose a recipe without use_peft.")
    accumulation = recipe["gradient_accumulation_steps"]
    update = recipe["per_device_train_batch_size"] * accumulation * NODE
    rollout = recipe["per_device_train_batch_size"] * (recipe["steps_per_generation"] or accumulation) * NODE
    if update % gpus:
        raise ValueError(f"{update} responses of an update do not divide by {gpus} GPUs: choose a divisor.")
    cases = [
        _lines(shape, recipe, gpus, prompts, {k: a.values[i] for k, a in assumptions.items()}, rollout, update)
        for i in range(len(CASES))
    ]
    return [
        Line(part, cases[1][part][0], {name: case[part][1] for name, case in zip(CASES, cases)}) for part in cases[0]
    ]


def _lines(shape, recipe, gpus, prompts, given, rollout, update) -> dict[str, tuple[str, float]]:
    """{part: (arithmetic, seconds)} of one case; all counts are of one GPU unless said."""
    responses = prompts * recipe["num_generations"] * recipe["num_train_epochs"]
    rollouts, updates = responses / rollout, responses * recipe["num_iterations"] / update
    own, mine = responses / gpus, rollout // gpus  # responses of a GPU in the run, in a rollout
    micro = min(recipe["per_device_train_batch_size"], update // gpus)
    p, t, limit = given["prompt_tokens"], given["completion_tokens"], recipe["max_completion_length"]
    t, longest_prompt = min(t, limit), min(given["longest_prompt"], recipe["max_prompt_length"])
    width = longest_prompt + limit  # some response of a rollout runs to the limit, and TRL pads all to it
    weights = 2 * shape.parameters  # bytes, bf16
    port = NVLINK if gpus <= NODE else min(NVLINK, NODE * PORT)  # a ring enters a node once, over all of its ports
    gather = weights * (gpus - 1) / gpus / (port * given["network_share"])
    said_gather = f"{weights / 1e9:.1f} GB / {port * given['network_share'] / 1e9:.0f} GB/s"

    def overlapped(compute: float, communication: float) -> float:
        return max(communication, compute + (1 - given["hidden_share"]) * communication)

    def pass_over(flops: float, mfu: float, gathers: float) -> tuple[str, float]:
        seconds = overlapped(flops / (PEAK_FLOPS * mfu), gathers * gather)
        compute = f"{flops / 1e15:,.1f} PFLOP / ({PEAK_FLOPS / 1e12:.0f} TFLOP/s x {mfu:.2f})"
        return f"{compute}; {gathers:,.0f} gathers x {said_gather}", seconds

    def decoding(rows: float) -> tuple[str, float]:
        """One batch to its longest response."""
        vllm = recipe["use_vllm"]
        # transformers pads, and copies the whole cache into a longer one at every step: read and written, then read
        context, copies = (p + t / 2, 1) if vllm else (longest_prompt + limit / 2, 3)
        cache = rows * context * shape.kv_width * shape.layers * 2 * copies
        flops = sum(forward_flops(shape, rows, rows * context, rows).values())
        bandwidth, least = HBM * given["hbm_share"], given["vllm_step_seconds" if vllm else "step_seconds"]
        step = max(least, (weights + cache) / bandwidth, flops / (PEAK_FLOPS * given["forward_mfu"]))
        prefill = sum(forward_flops(shape, rows * longest_prompt, rows * longest_prompt**2, rows).values())
        first = gather + prefill / (PEAK_FLOPS * given["forward_mfu"])
        read = f"({weights / 1e9:.1f} GB weights + {cache / 1e9:.1f} GB cache) / {bandwidth / 1e12:.2f} TB/s"
        said = f"{limit} steps x {1e3 * step:.1f} ms = max({1e3 * least:.0f} ms overhead, {read})"
        said = f"({first:.1f} s gather and prefill + {said}), {rows:g} responses a GPU"
        return said, first + limit * step

    found = {}
    said, seconds = decoding(mine)
    found["generation"] = (f"{rollouts:.1f} rollouts x {said}", rollouts * seconds)

    flops = forward_flops(shape, own * (p + t), own * (p + t) ** 2 / 2, own * (t + 1))
    forwards = rollouts * -(-mine * (p + t) // recipe["frozen_batch_tokens"])
    found["frozen forward: reward, KL, features"] = pass_over(sum(flops.values()), given["frozen_mfu"], forwards)

    padded = forward_flops(shape, own * width, own * width**2, own * limit)
    micros = own / micro
    if recipe["algorithm"] == "ppo" or recipe["use_vllm"] or rollout * recipe["num_iterations"] > update:
        # else the update is on policy, and TRL takes its own log-probs for those of the rollout
        found["policy's log-probs of the rollout"] = pass_over(sum(padded.values()), given["forward_mfu"], micros)
    again = 4 if recipe["gradient_checkpointing"] else 3  # forward, the same again for the backward, backward twice it
    flops = recipe["num_iterations"] * (again * (padded["backbone"] + padded["attention"]) + 3 * padded["head"])
    # weights for the forward and for the backward (with checkpoints once more in between), gradients reduced
    found["update: forward, backward"] = pass_over(
        flops, given["update_mfu"], recipe["num_iterations"] * again * micros
    )

    # fp32 gradient, master weight and two moments read, the latter three and a bf16 weight written
    seconds = updates * 30 * shape.parameters / gpus / (HBM * given["hbm_share"])
    found["optimizer"] = (f"{updates:.0f} updates x 30 B x {shape.parameters / gpus / 1e9:.2f}G / HBM", seconds)
    if recipe["algorithm"] == "ppo":
        passes = 1 + 3 * recipe["critic_epochs"]  # values once, then forward and backward an epoch
        flops = 2 * (shape.hidden + 2) * recipe["critic_width"] * own * (t + 1) * passes
        traffic = 4 * shape.hidden * own * (t + 1) * passes  # fp32 features, normalised
        seconds = flops / (PEAK_FP32 * given["update_mfu"]) + traffic / (HBM * given["hbm_share"])
        speed = f"({PEAK_FP32 / 1e12:.0f} TFLOP/s fp32 x {given['update_mfu']:.2f})"
        arithmetic = f"{flops / 1e12:.0f} TFLOP / {speed} + {traffic / 1e12:.2f} TB / HBM"
        found["critic"] = (arithmetic, seconds)
    if recipe["eval_strategy"] == "steps":
        problems, rows = recipe["max_heldout_samples"], recipe["per_device_eval_batch_size"]
        batches = -(-problems // (rows * gpus))
        said, seconds = decoding(rows)
        times = int(updates // recipe["eval_steps"])
        found["held-out evaluation: its generation"] = (
            f"{times} x {batches} batches x {said}",
            times * batches * seconds,
        )
    nodes, size = -(-gpus // NODE), 16 * shape.parameters  # fp32 master and moments, bf16 weights twice
    times = updates / recipe["save_steps"]
    arithmetic = f"{times:.1f} x {size / 1e9:.0f} GB / ({nodes} x {given['disk'] / 1e9:.0f} GB/s)"
    found["checkpoints"] = (arithmetic, times * size / (nodes * given["disk"]))
    return found


def totals(lines: Sequence[Line]) -> dict[str, float]:
    """Seconds of all lines by case."""
    return {case: sum(line.seconds[case] for line in lines) for case in CASES}


def markdown(lines: Sequence[Line], gpus: int) -> str:
    """The lines as a table with sums and GPU-hours."""
    rows = [f"| part, {gpus} GPUs | arithmetic of the central case | " + " | ".join(f"{c}, s" for c in CASES) + " |"]
    rows += ["|---|---|---|---|---|"]
    for line in lines:
        rows.append(
            f"| {line.part} | {line.arithmetic} | " + " | ".join(f"{line.seconds[c]:,.0f}" for c in CASES) + " |"
        )
    total = totals(lines)
    rows.append("| **all** | | " + " | ".join(f"**{total[c]:,.0f}**" for c in CASES) + " |")
    rows.append("| **GPU-hours** | | " + " | ".join(f"**{total[c] * gpus / 3600:,.1f}**" for c in CASES) + " |")
    return "\n".join(rows)
