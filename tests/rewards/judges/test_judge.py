"""A local judge's log-probabilities, whatever the batches."""

import pytest
import torch
from tiny_models import judge_model, word_tokenizer

from rewards import FrozenBase, GenerativeVerifier, LocalJudge

PROMPTS = ["What is 2+2?", [{"role": "user", "content": "Name a colour."}], "Hi"]


RESPONSES = ["4", [{"role": "assistant", "content": "Red, of course. " * 4}], "{prompt} {response} Answer: Yes"]


def test_batches_and_padding_change_nothing():
    model, tokenizer = judge_model(), word_tokenizer()
    together = FrozenBase(model)
    alone = FrozenBase(model, batch_tokens=1)
    a, b = (GenerativeVerifier(base, tokenizer).score(PROMPTS, RESPONSES) for base in (together, alone))
    assert a == pytest.approx(b, abs=1e-4)
    assert (together.forwards, alone.forwards) == (1, 3)
    assert GenerativeVerifier(together, tokenizer).score([], []) == []


@pytest.mark.parametrize(
    "variables,written", [(None, "Well</think>Yes"), ({"enable_thinking": True}, "<think>Well</think>Yes")]
)
def test_thoughts_that_the_chat_template_begins_are_given_back(variables, written, monkeypatch):
    tokenizer, model = (
        word_tokenizer("{{ messages[0].content }}{% if enable_thinking %} <think>\n{% endif %}"),
        judge_model(),
    )
    judge = LocalJudge(model, tokenizer, chat_template_kwargs=variables)
    judge.lend_variables({"enable_thinking": variables is None})  # the policy's decides nothing
    said = torch.tensor([tokenizer("Well</think>Yes")["input_ids"]])
    monkeypatch.setattr(model, "generate", lambda input_ids, **_: torch.cat([input_ids, said], dim=1))
    assert judge.write(GenerativeVerifier(None).template, [{"prompt": "p", "response": "r"}], 9) == [written]
