"""Sharing a prompt's forward gives what a plain loop gives, on every kind of memory that a model can have."""

import warnings

import pytest
import torch
from memories import MODELS, SIZES
from tiny_models import VOCAB_SIZE, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from rewards import FrozenBase

DRAW = torch.Generator().manual_seed(0)
PROMPT, *RESPONSES = (torch.randint(3, VOCAB_SIZE, (n,), generator=DRAW).tolist() for n in (40, 3, 12, 1, 7))


@pytest.mark.parametrize("architecture", MODELS)
def test_shared_or_apart_the_scores_are_those_of_a_loop(architecture):
    changes, shares = MODELS[architecture]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **(SIZES | changes))).eval()
    base, prompts = FrozenBase(model), [PROMPT] * len(RESPONSES)
    apart = base.score(prompts, RESPONSES)
    tokens = base.tokens
    shared = base.score(prompts, RESPONSES, share_prompts=True)
    assert base.tokens - tokens == tokens - shares * (len(RESPONSES) - 1) * (len(PROMPT) - 1)
    for response, one, other in zip(RESPONSES, apart, shared):
        with torch.no_grad():
            logits = model(torch.tensor([PROMPT + response]), use_cache=False).logits[0].double()
        states, at = logits[len(PROMPT) - 1 :], range(len(response))
        for scores in (one, other):
            kwargs = {"atol": 1e-4, "rtol": 0, "check_dtype": False}
            torch.testing.assert_close(scores.log_probs, states.log_softmax(-1)[at, response], **kwargs)
            torch.testing.assert_close(scores.q, states[at, response], **kwargs)
            torch.testing.assert_close(scores.v[1.0], states.logsumexp(-1), **kwargs)


@pytest.mark.parametrize("share_prompts", [False, True])
def test_the_library_is_called_as_it_wants_to_be(share_prompts):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        FrozenBase(tiny_model()).score([PROMPT] * 2, [[5, 6], [7]], share_prompts=share_prompts)
    deprecated = [w for w in seen if issubclass(w.category, FutureWarning | DeprecationWarning)]
    assert [str(w.message) for w in deprecated] == []
