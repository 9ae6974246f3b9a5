"""A reward model trained on labelled pairs, the usual rival of a reward that needs no label."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from train.tasks.arithmetic_model import fit


def reward_model(lm: PreTrainedModel, from_lm: bool) -> PreTrainedModel:
    """A sequence classifier with one label of the size and architecture of ``lm``: its backbone is a copy of the
    ``lm``'s if ``from_lm``, else random, drawn like a new ``lm``'s; its head is random in both cases."""
    config = type(lm.config).from_dict(lm.config.to_dict() | {"num_labels": 1})
    model = AutoModelForSequenceClassification.from_config(config)
    if from_lm:
        model.base_model.load_state_dict(lm.base_model.state_dict())
    return model.eval()


def reward(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Rewards ``(n,)`` of token ids ``(n, T)``, prompt and response without padding, read at the last token."""
    return model(input_ids=tokens, use_cache=False).logits[:, 0]


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Mean of -log sigmoid(r_chosen - r_rejected) over pairs, rewards ``(n,)``, in nats (Bradley and Terry 1952; as a
    loss of reward models: Ouyang et al., arXiv 2203.02155, eq. 1)."""
    return -logsigmoid(chosen - rejected).mean()


def fit_bradley_terry(
    model: PreTrainedModel,
    chosen: Tensor,
    rejected: Tensor,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> PreTrainedModel:
    """Train ``model`` on pairs of token ids ``chosen (k, T)`` and ``rejected (k, T)`` without padding, in a new order
    every epoch (the last batch of one may be smaller); returns it in evaluation mode."""

    def epochs() -> Iterator[np.ndarray]:
        while True:
            yield from np.split(rng.permutation(len(chosen)), range(batch_size, len(chosen), batch_size))

    batches = epochs()

    def next_loss() -> Tensor:
        rows = torch.from_numpy(next(batches))
        return bradley_terry_loss(*reward(model, torch.cat([chosen[rows], rejected[rows]])).chunk(2))

    return fit(model, next_loss, steps, learning_rate, f"Bradley-Terry, {len(chosen):,} labels")
