"""From texts and chat messages to token ids, and what must not be encoded in silence."""

import pytest
from tiny_models import tiny_model, tiny_tokenizer

from rewards import EndoRM, FrozenBase


def make(**settings):
    return EndoRM(FrozenBase(tiny_model()), tiny_tokenizer(), **settings)


def test_empty_response():
    assert len(make().token_rewards(["a"], [""])[0]) == 1  # the end token alone
    with pytest.raises(ValueError, match="Response 1 is empty.*append_eos=True"):
        make(append_eos=False).score(["a", "b"], ["x", ""])


def test_empty_prompt():
    with pytest.raises(ValueError, match="Prompt 0 has no tokens.*BOS"):
        make().score([""], ["x"])


def test_no_chat_template():
    rm = EndoRM(FrozenBase(tiny_model()), tiny_tokenizer(chat_template=None))
    with pytest.raises(ValueError, match="has no chat template.*Set tokenizer.chat_template"):
        rm.score([[{"role": "user", "content": "Hi"}]], ["x"])


def test_no_end_token():
    rm = make()
    rm.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end token.*append_eos=False"):
        rm.score(["a"], ["b"])


def test_ids_of_another_tokenizer():
    rm, policy = make(), tiny_tokenizer(shift=11)
    ids = policy("hello")["input_ids"]
    with pytest.raises(ValueError, match="policy's tokenizer"):
        rm(prompts=["a"], completions=["hello"], completion_ids=[ids])


def test_a_single_text_instead_of_a_list():
    with pytest.raises(ValueError, match="Give lists"):
        make().score("a prompt", "a response")
