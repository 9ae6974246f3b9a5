"""The bare products are those of the model: as many multiplications as its forward has, at its own shapes."""

import bare_products
import pytest
import torch
from bare_products import BareProducts
from tiny_models import tiny_model
from torch.utils.flop_counter import FlopCounterMode

from rewards import FrozenBase


def flops(run):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_as_many_products_as_in_a_forward(architecture):
    model = tiny_model(architecture)
    products = BareProducts(model)
    ids = torch.randint(97, (3, 7))
    assert flops(products.forward(3, 7)) == flops(lambda: model.model(input_ids=ids))
    assert flops(products.head_product(5)) == flops(lambda: model.lm_head(torch.zeros(5, model.config.hidden_size)))


@pytest.mark.parametrize("states", [2**19, 300])  # one batch of all, and batches near a CPU's caches
def test_scoring_has_the_batches_of_ours(states, monkeypatch):
    monkeypatch.setattr("rewards.frozen.frozen_base.CPU_STATES", states)
    monkeypatch.setattr("rewards.frozen.frozen_base.CPU_LEAST_TOKENS", 1)
    model = tiny_model()
    prompts, responses = [[1, 2, 3]] * 4, [[4] * n for n in (9, 2, 9, 3)]
    base = FrozenBase(model)
    base.score(prompts, responses)  # what is checked once is not counted
    bare = BareProducts(model).scoring([3] * 4, [9, 2, 9, 3], base.batch_budget)
    ours, n = flops(lambda: base.score(prompts, responses)), sum(map(len, responses)) + 4
    assert flops(bare) == ours
    assert flops(BareProducts(model).head_product(n)) < ours


def test_another_dtype_and_a_longer_context(monkeypatch):
    products = BareProducts(tiny_model(), torch.bfloat16)
    assert {weight.dtype for weight in products.weights} == {torch.bfloat16}
    contexts = []
    monkeypatch.setattr(
        bare_products, "scaled_dot_product_attention", lambda q, k, v, **_: contexts.append(k.shape[2])
    )
    products.forward(2, 1, context=9)()
    assert contexts == [10] * products.layers  # the counter of FLOPs knows no attention on a CPU
    products.head_product(4, torch.bfloat16)()
