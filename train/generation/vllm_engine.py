"""TRL's vLLM backend with what a policy with a frozen base needs of it.

TRL sends the policy's weights to vLLM, gets token ids and their log-probs back, logs how far those are from the
trainer's own (`sampling/sampling_logp_difference`) and weighs the loss by their ratio. Four things are added:

- vLLM stops at the end tokens that the checkpoint declares. A recipe's `eos_token` is not among those of a base model,
  so the trainer's end tokens are sent with each request.
- TRL merges a LoRA adapter into the weights to send them, and takes it out again. In bf16 (W + d) - d is not W, and
  these very weights are the frozen base: after some hundred updates the reward would have moved. So they are put back.
- vLLM reads its dtype off the checkpoint, and makes half precision of one in fp32. It is given the dtype in which the
  trainer computes; a server that has another one is warned of.
- On a CPU, vLLM packs its weights once they are loaded and drops what they came from, so TRL cannot load others.
  vLLM's own reload of one layer after another is put around it there. Nor can weights reach a server by NCCL: see
  `vllm_gloo.py`.
"""

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from trl.generation import vllm_generation
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer

from train.generation.vllm_client import Client

logger = logging.getLogger(__name__)


class PolicyEngine(VLLMGeneration):
    """`trl.generation.vllm_generation.VLLMGeneration` as the head of this module describes it."""

    def _init_vllm(self) -> None:
        self._kept: list[torch.Tensor] = []  # the base weights under an adapter, on the CPU
        dtype = compute_dtype(self.model, self.accelerator.mixed_precision)
        own: dict = {"VLLMClient": Client}
        if self.mode == "colocate":
            # Without a GPU the compiler would cost minutes, and there are no graphs to be had
            eager = {"enforce_eager": True} if self._on_cpu else {}
            llm = getattr(vllm_generation, "LLM", None)  # where vLLM is missing, TRL says so
            own["LLM"] = functools.partial(llm, dtype=dtype, **eager) if llm else None
        with replaced(vllm_generation, own):
            super()._init_vllm()
        if self.mode == "server" and self.accelerator.is_main_process:
            served = str(self.vllm_client.get_server_info()["model_config"]["dtype"]).removeprefix("torch.")
            if served != dtype:
                logger.warning(
                    "The vLLM server computes in %s and the trainer in %s, so their log-probabilities differ more "
                    "than they need to: start the server with --dtype %s.",
                    *(served, dtype, dtype),
                )

    @property
    def _on_cpu(self) -> bool:
        return self.accelerator.device.type == "cpu"

    def stop_at(self, eos_token_ids: list[int]) -> None:
        """Have vLLM end a response at these tokens too, unless the recipe's `generation_kwargs` name others."""
        self.generation_kwargs = {"stop_token_ids": list(eos_token_ids), **self.generation_kwargs}

    def sync_weights(self) -> None:
        """Send the policy's weights; those under an adapter are afterwards what they were before the first time."""
        weights = adapted_weights(self.model)
        if weights and not self._kept:
            self._kept = [local(p).to("cpu", copy=True) for p in weights]
        if self.mode == "colocate" and self._on_cpu:
            with layerwise_reload(self.llm):
                super().sync_weights()
        else:
            super().sync_weights()
        for p, before in zip(weights, self._kept):
            local(p).copy_(before)


@contextmanager
def replaced(module, names: dict) -> Iterator[None]:
    """Other objects for a module's names for as long as this is open."""
    before = {name: getattr(module, name) for name in names if hasattr(module, name)}
    for name in before:
        setattr(module, name, names[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def in_trainers():
    """A context in which TRL's trainers make a `PolicyEngine` where they would make a `VLLMGeneration`."""
    return replaced(grpo_trainer, {"VLLMGeneration": PolicyEngine})


@contextmanager
def layerwise_reload(llm) -> Iterator[None]:
    """Let weights be loaded into a vLLM engine that has packed its own, as vLLM's weight-transfer engines do."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

    runner = llm.llm_engine.model_executor.driver_worker.model_runner
    with set_current_vllm_config(runner.vllm_config):
        initialize_layerwise_reload(runner.model)
        yield
        finalize_layerwise_reload(runner.model, runner.model_config)


def compute_dtype(model: nn.Module, mixed_precision: str) -> str:
    """The dtype in which a trainer computes the policy's log-probs: that of autocast, or else of its weights.

    Args:
        model: the policy; with an adapter, the base's weights count.
        mixed_precision: accelerate's, "no" without autocast.

    Returns:
        vLLM's name for it, such as "float32" or "bfloat16".
    """
    autocast = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(mixed_precision)
    return str(autocast or next(model.parameters()).dtype).removeprefix("torch.")


def adapted_weights(model: nn.Module) -> list[nn.Parameter]:
    """The base weights that merging an adapter writes to; none without an adapter."""
    layers = [m.get_base_layer() for m in model.modules() if isinstance(m, BaseTunerLayer)]
    return [p for layer in layers for p in layer.parameters(recurse=False)]


def local(p: nn.Parameter) -> torch.Tensor:
    """This process's share of a weight that FSDP2 may have split; ZeRO-3 leaves an empty one, and sends copies."""
    return getattr(p, "to_local", lambda: p)().detach()
