"""What TRL's settings cannot change: its fused head on a CPU, which gives the same log-probs, entropies and gradients
from fewer states and smaller tiles; and messages that it would log a hundred times."""

import copy
import logging

import pytest
import torch
from helpers import grpo, ppo
from tiny_models import tiny_model
from trl.trainer import utils

from rewards import EndoRM
from train import trl_patches


@pytest.fixture
def untouched(monkeypatch):
    """TRL as it was installed, put back afterwards; the test fails if it no longer has what is changed."""
    monkeypatch.setattr(utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 32768)
    monkeypatch.setattr(utils, "_use_triton", lambda device: device.type == "cuda")


def results(model, ids, labels):
    model = copy.deepcopy(model)
    utils.add_fused_lm_head(model, temperature=0.7, outputs=("log_probs", "entropy"))
    given = model(input_ids=ids, labels=labels, fused_lm_head=True, use_cache=False)
    given.log_probs.square().sum().backward()
    return given.log_probs.detach(), given.entropy.detach(), [p.grad for p in model.parameters()]


def test_nothing_but_the_cost_changes(untouched, monkeypatch):
    model, heads = tiny_model(), []
    ids = torch.randint(97, (3, 12), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, :7] = -100  # the prompts
    labels[1, 9:] = -100
    forward = utils._ChunkedLogProbFunction.forward
    monkeypatch.setattr(
        utils._ChunkedLogProbFunction,
        "forward",
        staticmethod(lambda ctx, hidden, *rest: heads.append((len(hidden), rest[4])) or forward(ctx, hidden, *rest)),
    )
    before = results(model, ids, labels)
    monkeypatch.setattr(trl_patches, "TILE", 40)  # three tiles for 97 entries
    for _ in range(2):
        trl_patches.fit_fused_head(torch.device("cpu"))
    after = results(model, ids, labels)
    assert heads == [(3 * 11, 32768), (5 + 2 + 5, 40)]
    for x, y in zip((*before[:2], *before[2]), (*after[:2], *after[2])):
        torch.testing.assert_close(x, y, atol=2e-3, rtol=1e-3)
    expected = (model(ids).logits[:, :-1] / 0.7).log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(after[0], expected.masked_fill(labels[:, 1:] == -100, 0.0), atol=1e-4, rtol=1e-4)


def test_other_devices_keep_what_they_had(untouched):
    trl_patches.fit_fused_head(torch.device("cuda"))
    assert utils._CHUNKED_LOGPROB_CHUNK_SIZE == 32768
    trl_patches.fit_fused_head(torch.device("cpu"))
    assert utils._use_triton(torch.device("cuda"))
    assert not utils._use_triton(torch.device("mps"))


def some(completion_ids, **_):
    """Applies to every other response."""
    return [float(sum(ids) % 7) if i % 2 else None for i, ids in enumerate(completion_ids)]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_it_is_told_once_and_without_tensors(algorithm, saved_model, tmp_path, caplog):
    trainer = algorithm(saved_model, tmp_path, rewards=[EndoRM(), some], reward_weights=[0.0, 1.0], max_steps=6)
    plain = algorithm(saved_model, tmp_path, rewards=[some], max_steps=6)
    with caplog.at_level(logging.WARNING):
        trainer.train()
        plain.train()
    told = [r.getMessage() for r in caplog.records if "returned None" in r.getMessage()]
    assert len(told) <= 1
    assert not any("tensor(" in message for message in (r.getMessage() for r in caplog.records))
