"""Seconds and GPU-hours of a recipe with ZeRO-3 on H100s, on paper: FLOPs, bytes and the speeds they are taken at.

Work is counted from the model's shape and the recipe. How fast it goes is an assumption with a range, named as one,
unless a measurement says it. Three cases: `least`, `central` and `most` are what a run costs if all assumptions are
kind, likely or unkind at once, so that the ends are wider than any single doubt.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewards.reporting.tables import markdown_table
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


def forward_flops(shape: Shape, tokens: float, pairs: float, states: float) -> dict[str, float]:
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
    responses = prompts * recipe["num_generations"] * recipe["num_train_epochs"]
    cases = []
    for i in range(len(CASES)):
        given = {name: assumption.values[i] for name, assumption in assumptions.items()}
        cases.append(_Case(shape, recipe, gpus, given, responses, rollout, update).parts())
    return [
        Line(part, cases[1][part][0], {name: case[part][1] for name, case in zip(CASES, cases)}) for part in cases[0]
    ]


@dataclass
class _Case:
    """What the parts' arithmetic of one case starts from. Counts are of one GPU, seconds of the whole run."""

    shape: Shape
    recipe: Mapping
    gpus: int
    given: Mapping[str, float]  # by the names of ASSUMPTIONS
    responses: int  # of the run
    rollout: int  # responses of one
    update: int  # responses of one

    def __post_init__(self):
        recipe, given, gpus = self.recipe, self.given, self.gpus
        self.rollouts = self.responses / self.rollout
        self.updates = self.responses * recipe["num_iterations"] / self.update
        self.own, self.mine = self.responses / gpus, self.rollout // gpus  # responses of a GPU: the run's, a rollout's
        self.micros = self.own / min(recipe["per_device_train_batch_size"], self.update // gpus)
        self.limit = recipe["max_completion_length"]
        self.prompt, self.completion = given["prompt_tokens"], min(given["completion_tokens"], self.limit)
        self.longest_prompt = min(given["longest_prompt"], recipe["max_prompt_length"])
        # some response of a rollout runs to the limit, and TRL pads all to it
        width = self.longest_prompt + self.limit
        self.padded = forward_flops(self.shape, self.own * width, self.own * width**2, self.own * self.limit)
        self.weights = 2 * self.shape.parameters  # bytes, bf16
        port = NVLINK if gpus <= NODE else min(NVLINK, NODE * PORT)  # a ring enters a node once, over all of its ports
        speed = port * given["network_share"]
        self.gather = self.weights * (gpus - 1) / gpus / speed
        self.said_gather = f"{self.weights / 1e9:.1f} GB / {speed / 1e9:.0f} GB/s"

    def pass_over(self, flops: float, mfu: float, gathers: float) -> tuple[str, float]:
        """A computation during which some of the gathers of weights are hidden."""
        communication = gathers * self.gather
        compute = flops / (PEAK_FLOPS * mfu) + (1 - self.given["hidden_share"]) * communication
        said = f"{flops / 1e15:,.1f} PFLOP / ({PEAK_FLOPS / 1e12:.0f} TFLOP/s x {mfu:.2f})"
        return f"{said}; {gathers:,.0f} gathers x {self.said_gather}", max(communication, compute)

    def decoding(self, rows: float) -> tuple[str, float]:
        """One batch of responses to its longest one."""
        given, shape, vllm = self.given, self.shape, self.recipe["use_vllm"]
        # transformers pads, and copies the whole cache into a longer one at every step: read and written, then read
        context = self.prompt + self.completion / 2 if vllm else self.longest_prompt + self.limit / 2
        cache = rows * context * shape.kv_width * shape.layers * 2 * (1 if vllm else 3)
        flops = sum(forward_flops(shape, rows, rows * context, rows).values())
        bandwidth, least = HBM * given["hbm_share"], given["vllm_step_seconds" if vllm else "step_seconds"]
        step = max(least, (self.weights + cache) / bandwidth, flops / (PEAK_FLOPS * given["forward_mfu"]))
        prompts = forward_flops(shape, rows * self.longest_prompt, rows * self.longest_prompt**2, rows)
        first = self.gather + sum(prompts.values()) / (PEAK_FLOPS * given["forward_mfu"])
        read = f"({self.weights / 1e9:.1f} GB weights + {cache / 1e9:.1f} GB cache) / {bandwidth / 1e12:.2f} TB/s"
        said = f"{self.limit} steps x {1e3 * step:.1f} ms = max({1e3 * least:.0f} ms overhead, {read})"
        said = f"({first:.1f} s gather and prefill + {said}), {rows:g} responses a GPU"
        return said, first + self.limit * step

    def generation(self) -> tuple[str, float]:
        """The rollouts."""
        said, seconds = self.decoding(self.mine)
        return f"{self.rollouts:.1f} rollouts x {said}", self.rollouts * seconds

    def frozen_forward(self) -> tuple[str, float]:
        """The one forward of the frozen base, without padding."""
        length = self.prompt + self.completion
        tokens, states = self.own * length, self.own * (self.completion + 1)
        flops = forward_flops(self.shape, tokens, self.own * length**2 / 2, states)
        forwards = self.rollouts * -(-self.mine * length // self.recipe["frozen_batch_tokens"])
        return self.pass_over(sum(flops.values()), self.given["frozen_mfu"], forwards)

    def training(self) -> tuple[str, float]:
        """Forward and backward of the policy."""
        again = 4 if self.recipe["gradient_checkpointing"] else 3  # forward, again for the backward, backward twice it
        times = self.recipe["num_iterations"]
        flops = times * (again * (self.padded["backbone"] + self.padded["attention"]) + 3 * self.padded["head"])
        # weights for the forward and for the backward (with checkpoints once more in between), gradients reduced
        return self.pass_over(flops, self.given["update_mfu"], times * again * self.micros)

    def optimizer(self) -> tuple[str, float]:
        """fp32 gradient, master weight and two moments read, the latter three and a bf16 weight written."""
        share = self.shape.parameters / self.gpus
        seconds = self.updates * 30 * self.shape.parameters / self.gpus / (HBM * self.given["hbm_share"])
        return f"{self.updates:.0f} updates x 30 B x {share / 1e9:.2f}G / HBM", seconds

    def critic(self) -> tuple[str, float]:
        """The small critic on the frozen base's features: values once, then forward and backward in each epoch."""
        recipe, given, states = self.recipe, self.given, self.own * (self.completion + 1)
        passes = 1 + 3 * recipe["critic_epochs"]
        flops = 2 * (self.shape.hidden + 2) * recipe["critic_width"] * states * passes
        traffic = 4 * self.shape.hidden * states * passes  # fp32 features, normalised
        seconds = flops / (PEAK_FP32 * given["update_mfu"]) + traffic / (HBM * given["hbm_share"])
        speed = f"({PEAK_FP32 / 1e12:.0f} TFLOP/s fp32 x {given['update_mfu']:.2f})"
        return f"{flops / 1e12:.0f} TFLOP / {speed} + {traffic / 1e12:.2f} TB / HBM", seconds

    def heldout(self) -> tuple[str, float]:
        """Generation on the held-out problems."""
        problems, rows = self.recipe["max_heldout_samples"], self.recipe["per_device_eval_batch_size"]
        batches, times = -(-problems // (rows * self.gpus)), int(self.updates // self.recipe["eval_steps"])
        said, seconds = self.decoding(rows)
        return f"{times} x {batches} batches x {said}", times * batches * seconds

    def checkpoints(self) -> tuple[str, float]:
        """fp32 master weights and moments, bf16 weights twice."""
        nodes, size, disk = -(-self.gpus // NODE), 16 * self.shape.parameters, self.given["disk"]
        times = self.updates / self.recipe["save_steps"]
        said = f"{times:.1f} x {size / 1e9:.0f} GB / ({nodes} x {disk / 1e9:.0f} GB/s)"
        return said, times * size / (nodes * disk)

    def parts(self) -> dict[str, tuple[str, float]]:
        """{part: (arithmetic, seconds)} in the order of a step."""
        recipe, off_policy = self.recipe, self.rollout * self.recipe["num_iterations"] > self.update
        found = {"generation": self.generation(), "frozen forward: reward, KL, features": self.frozen_forward()}
        if recipe["algorithm"] == "ppo" or recipe["use_vllm"] or off_policy:
            # else the update is on policy, and TRL takes its own log-probs for those of the rollout
            flops = sum(self.padded.values())
            found["policy's log-probs of the rollout"] = self.pass_over(flops, self.given["forward_mfu"], self.micros)
        found |= {"update: forward, backward": self.training(), "optimizer": self.optimizer()}
        if recipe["algorithm"] == "ppo":
            found["critic"] = self.critic()
        if recipe["eval_strategy"] == "steps":
            found["held-out evaluation: its generation"] = self.heldout()
        return found | {"checkpoints": self.checkpoints()}


def totals(lines: Sequence[Line]) -> dict[str, float]:
    """Seconds of all lines by case."""
    return {case: sum(line.seconds[case] for line in lines) for case in CASES}


def markdown(lines: Sequence[Line], gpus: int) -> str:
    """The lines as a table with sums and GPU-hours."""
    heads = [f"part, {gpus} GPUs", "arithmetic of the central case", *(f"{case}, s" for case in CASES)]
    rows = [[line.part, line.arithmetic, *(f"{line.seconds[case]:,.0f}" for case in CASES)] for line in lines]
    total = totals(lines)
    rows.append(["**all**", "", *(f"**{total[case]:,.0f}**" for case in CASES)])
    rows.append(["**GPU-hours**", "", *(f"**{total[case] * gpus / 3600:,.1f}**" for case in CASES)])
    return markdown_table(heads, rows, left=2)


def assumptions_table(assumptions: Mapping[str, Assumption]) -> str:
    """What was assumed or measured, by case, and where each number is from."""
    rows = [[a.what, *(f"{value:g}" for value in a.values), a.source] for a in assumptions.values()]
    return markdown_table(["what", *CASES, "from"], rows)
