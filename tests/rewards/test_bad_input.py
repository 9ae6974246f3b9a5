"""What must not be scored in silence: each error names the row and the fix."""

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer

from rewards import REWARDS, EndoRM, FrozenBase, get_reward


def make(**settings):
    return EndoRM(FrozenBase(tiny_model()), tiny_tokenizer(), **settings)


def test_empty_response():
    assert len(make().token_rewards(["a"], [""])[0]) == 1  # the end token alone
    with pytest.raises(ValueError, match="Response 1 is empty.*append_eos=True"):
        make(append_eos=False).score(["a", "b"], ["x", ""])


def test_empty_prompt():
    with pytest.raises(ValueError, match="Prompt 0 has no tokens.*BOS"):
        make().score([""], ["x"])


def test_beyond_the_models_positions():
    with pytest.raises(ValueError, match="Row 0 has 40 \\+ 31 tokens.*64 positions.*max_prompt_length"):
        make().score(["a" * 40], ["b" * 30])


def test_nan_logits_name_the_rows():
    model = tiny_model()
    base = FrozenBase(model)
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or infinite logits for rows \[1\]"):
        base.score([[5], [7]], [[6, 2], [6, 2]])


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


def test_rows_that_do_not_match():
    with pytest.raises(ValueError, match="2 prompts but 1 responses"):
        make().base.score([[5], [6]], [[7]])


def test_without_a_base_or_tokenizer():
    with pytest.raises(ValueError, match="from_pretrained"):
        EndoRM().score(["a"], ["b"])


@pytest.mark.parametrize(
    "settings", [{"alpha": 0}, {"discount": 1.5}, {"floor": -1}, {"form": "q"}, {"reduce": "max"}, {"terminal": "?"}]
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        EndoRM(**settings)


def test_an_architecture_whose_logits_are_not_its_heads():
    model = tiny_model()
    plain = type(model).forward

    class Odd(type(model)):
        def forward(self, *args, **kwargs):
            output = plain(self, *args, **kwargs)
            output.logits = output.logits * 2
            return output

    model.__class__ = Odd
    with pytest.raises(ValueError, match="LogitRule"):
        FrozenBase(model).score([[5]], [[6]])


def test_unknown_reward_names():
    with pytest.raises(ValueError, match="Unknown reward 'endrom'.*endorm"):
        get_reward("endrom")
    with pytest.raises(ValueError, match="Cannot import reward 'no_such.module'"):
        get_reward("no_such.module")
    assert get_reward("endorm") is EndoRM
    names = {name: get_reward(name) for name in REWARDS}  # a class keeps the name for its instances
    assert {name for name, reward in names.items() if vars(reward).get("__name__", reward.__name__) != name} == set()
    assert get_reward("math.sqrt")(9) == 3


def test_a_single_text_instead_of_a_list():
    with pytest.raises(ValueError, match="Give lists"):
        make().score("a prompt", "a response")


def test_ids_beyond_the_vocabulary():
    with pytest.raises(ValueError, match="Token id 97 is not among the frozen base's 97"):
        make().base.score([[5]], [[97]])
