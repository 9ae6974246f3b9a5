"""The model is found inside whatever a launcher, a compiler or an adapter wrapped around it, in any order."""

import itertools

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_models import tiny_model
from torch import nn

from rewards.frozen.wrappers import unwrap, unwrap_parallel


class Parallel(nn.Module):
    """Holds a model as DDP and DeepSpeed's engine do."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def compiled(model):
    """A wrapper that holds the model as `_orig_mod`; nothing is compiled before its first forward."""
    return torch.compile(model)


def adapted(model):
    return get_peft_model(model, LoraConfig(r=1, target_modules=["q_proj"], task_type="CAUSAL_LM"))


WRAPPERS = {"parallel": Parallel, "compiled": compiled, "data parallel": nn.DataParallel}
ORDERS = [order for n in range(4) for order in itertools.permutations(WRAPPERS, n)]


@pytest.fixture(scope="module")
def lm():
    return tiny_model()


@pytest.mark.parametrize("order", [*ORDERS, ("parallel", "parallel")], ids=" in ".join)
def test_every_wrapper_comes_off(order, lm):
    wrapped = lm
    for name in order:
        wrapped = WRAPPERS[name](wrapped)
    assert unwrap(wrapped) is lm
    assert unwrap_parallel(wrapped) is lm


@pytest.mark.parametrize("outside", [[], [Parallel], [compiled], [compiled, Parallel]])
def test_an_adapter_stays_with_the_parallel_wrappers_off_and_goes_with_the_rest(outside):
    lm = tiny_model()
    wrapped = adapted(lm)
    peft = wrapped
    for wrapper in outside:
        wrapped = wrapper(wrapped)
    assert unwrap_parallel(wrapped) is peft
    assert unwrap(wrapped) is lm
    assert hasattr(unwrap_parallel(wrapped), "disable_adapter")


def test_attributes_of_these_names_that_are_no_modules_are_let_be():
    """A remote model may have a setting that is called `module`, and TRL's wrappers set some of them to None."""
    model = nn.Linear(2, 2)
    model.__dict__["module"] = "qwen2"
    assert unwrap_parallel(model) is model
    model.__dict__["module"] = None
    assert unwrap(model) is model


def test_what_is_inside_the_model_is_not_taken_for_it(lm):
    assert unwrap(lm) is lm
    assert unwrap(lm.model) is lm.model  # a backbone is not the causal LM, and none is made up
