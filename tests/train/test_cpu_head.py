"""TRL's fused head, fit for a CPU: the same log-probs, entropies and gradients from fewer states and smaller tiles."""

import copy

import pytest
import torch
from tiny_models import tiny_model
from trl.trainer import utils

from train import trl_patches as cpu_head


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
    monkeypatch.setattr(cpu_head, "TILE", 40)  # three tiles for 97 entries
    for _ in range(2):
        cpu_head.fit_fused_head(torch.device("cpu"))
    after = results(model, ids, labels)
    assert heads == [(3 * 11, 32768), (5 + 2 + 5, 40)]
    for x, y in zip((*before[:2], *before[2]), (*after[:2], *after[2])):
        torch.testing.assert_close(x, y, atol=2e-3, rtol=1e-3)
    expected = (model(ids).logits[:, :-1] / 0.7).log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(after[0], expected.masked_fill(labels[:, 1:] == -100, 0.0), atol=1e-4, rtol=1e-4)


def test_other_devices_keep_what_they_had(untouched):
    cpu_head.fit_fused_head(torch.device("cuda"))
    assert utils._CHUNKED_LOGPROB_CHUNK_SIZE == 32768
    cpu_head.fit_fused_head(torch.device("cpu"))
    assert utils._use_triton(torch.device("cuda"))
    assert not utils._use_triton(torch.device("mps"))
