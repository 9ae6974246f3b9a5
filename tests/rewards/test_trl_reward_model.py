"""The reward model of TRL's PPOTrainer, read by TRL's own `get_reward`, against EndoRM on one response at a time."""

import pytest
import torch
from tiny_models import VOCAB_SIZE, tiny_model, tiny_tokenizer
from trl.experimental.utils import get_reward

from rewards import EndoRM, FrozenBase, PPORewardModel
from rewards.endorm import endogenous_rewards, position_weights
from rewards.self_certainty import SelfCertainty

PROMPTS, RESPONSES = ["ab", "cdefgh", "i", "jkl"], ["xyz", "x", "", "wvutsrq"]  # an end token is appended
LENGTH, END = 6, 2


def endorm(tokenizer=None, **settings):
    return EndoRM(FrozenBase(tiny_model()), tokenizer or tiny_tokenizer(), **settings)


def batch(prompts, responses, length=LENGTH, pad=0, extra=0):
    """Token ids as PPOTrainer has them: prompts padded on the left, responses on the right."""
    width = max(map(len, responses)) + extra
    rows = [[pad] * (length - len(p)) + p + r + [pad] * (width - len(r)) for p, r in zip(prompts, responses)]
    return torch.tensor(rows)


def ids(texts, end=()):
    return [[*tiny_tokenizer()(text)["input_ids"], *end] for text in texts]


@pytest.mark.parametrize("pad", [0, VOCAB_SIZE])  # a token added for padding lies beyond the model's vocabulary
@pytest.mark.parametrize(
    "settings", [{}, {"alpha": 0.7, "discount": 0.9, "floor": 0.6}, {"form": "logprob"}, {"reduce": "mean"}]
)
def test_trl_reads_the_rewards_of_endorm(settings, pad):
    rm = endorm(**settings)
    rows = batch(ids(PROMPTS), ids(RESPONSES, [END]), pad=pad)
    totals, rewards, _ = get_reward(PPORewardModel(rm, LENGTH), rows, pad, LENGTH)
    assert rewards.tolist() == pytest.approx(rm.score(PROMPTS, RESPONSES), abs=1e-4)
    assert totals.shape == (*rows.shape, 1)
    assert totals.dtype == torch.float32
    assert not totals[:, :LENGTH].any()
    weights = [position_weights(len(r) + 1, rm.discount, rm.floor) for r in RESPONSES]
    for row, r, w in zip(totals[..., 0], rm.token_rewards(PROMPTS, RESPONSES), weights):
        expected = r * w / (len(r) if rm.reduce == "mean" else 1)
        torch.testing.assert_close(row[LENGTH:].diff(prepend=torch.zeros(1))[: len(r)], expected, atol=1e-4, rtol=0)
        assert (row[LENGTH + len(r) :] == row[LENGTH + len(r) - 1]).all()


def test_padding_and_neighbours_change_nothing():
    rm = endorm()
    prompts, responses = ids(PROMPTS), ids(RESPONSES, [END])
    together = get_reward(PPORewardModel(rm, LENGTH), batch(prompts, responses), 0, LENGTH)[1]
    wide = get_reward(PPORewardModel(rm, 11), batch(prompts, responses, 11, extra=4), 0, 11)[1]
    torch.testing.assert_close(wide, together, atol=1e-4, rtol=0)
    for i, (p, r) in enumerate(zip(prompts, responses)):  # without any padding
        (alone,) = get_reward(PPORewardModel(rm, len(p)), torch.tensor([p + r]), 0, len(p))[1].tolist()
        assert alone == pytest.approx(float(together[i]), abs=1e-4)


def test_a_response_without_an_end_token_was_cut_off():
    rm = endorm()
    prompts, responses = ids(["ab", "cd", "cd"]), ids(["xyz", "uvw", "u"])
    rows = batch(prompts, responses, extra=0)
    rows[2, LENGTH + 2] = END  # what follows padding is not part of the response, which ends before it
    rewards = get_reward(PPORewardModel(rm, LENGTH), rows, 0, LENGTH)[1]
    truth = [float(endogenous_rewards(s, complete=False).sum()) for s in rm.base.score(prompts, responses)]
    assert rewards.tolist() == pytest.approx(truth, abs=1e-4)
    assert abs(truth[0] - rm.score(["ab"], ["xyz"])[0]) > 0.1


def test_an_empty_response_is_told_of_and_earns_what_an_end_token_does():
    rm = endorm()
    model = PPORewardModel(rm, LENGTH)
    with pytest.warns(UserWarning, match="1 of 2 responses are empty"):
        rewards = get_reward(model, batch(ids(["ab", "cd"]), [[], [*ids(["xy"])[0], END]]), 0, LENGTH)[1]
    assert rewards.tolist() == pytest.approx(rm.score(["ab", "cd"], ["", "xy"]), abs=1e-4)
    with pytest.warns(UserWarning, match="1 of 1"):
        get_reward(model, batch(ids(["ab"]), [[]], extra=1), 0, LENGTH)


def test_prompts_that_do_not_end_where_they_should_are_refused():
    model, rows = PPORewardModel(endorm(), LENGTH), batch(ids(["ab", "cd"]), ids(["xyz", "u"], [END]), length=3)
    for wrong, pattern in (
        (rows[:, :LENGTH], "Nothing follows the prompt: 6 tokens"),
        (rows, "do not end at prompt_length=6"),  # padded to 3, and the shorter response has ended before
        (torch.tensor([[5, 6, 0, 0, 0, 0, 7, 8, 2]]), "padded on the right"),
        (torch.tensor([[5, 0, 6, 7, 8, 9, 7, 8, 2]]), "padded on the right"),
    ):
        with pytest.raises(ValueError, match=pattern):
            get_reward(model, wrong, 0, LENGTH)


def test_rewards_that_cannot_be_reward_models_are_refused():
    base, padded_by_end = FrozenBase(tiny_model()), tiny_tokenizer()
    padded_by_end.pad_token = "<eos>"
    for reward, pattern in (
        (EndoRM(None, tiny_tokenizer()), "frozen base"),
        (EndoRM(base, tiny_tokenizer(), system_prompt="Be brief."), "system_prompt"),
        (EndoRM(base, tiny_tokenizer(), chat_template_kwargs={"n": 1}), "without system_prompt, chat_template_kwargs"),
        (EndoRM(base, padded_by_end), "pads with its end token"),
        (EndoRM(base, eos_token_ids=[]), "no end token"),
    ):
        with pytest.raises(ValueError, match=pattern):
            PPORewardModel(reward, LENGTH)
    with pytest.raises(ValueError, match="at least 1"):
        PPORewardModel(EndoRM(base, tiny_tokenizer()), 0)


def test_the_reference_can_be_the_frozen_model():
    reference = tiny_model()
    model = PPORewardModel(EndoRM(FrozenBase(reference), tiny_tokenizer()), LENGTH)
    assert {id(p) for p in model.parameters()} == {id(p) for p in reference.parameters()}
    assert not any(p.requires_grad for p in model.parameters())
    rows = batch(ids(PROMPTS), ids(RESPONSES, [END]))
    before = reference(rows).logits
    single = get_reward(model, rows, 0, LENGTH)[1]
    assert torch.equal(reference(rows).logits, before)
    double = get_reward(model.to(torch.float64), rows, 0, LENGTH)[1]  # .to() moves the base that scores
    assert reference.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=0)


def test_versions_of_trl_that_read_all_hidden_states_get_the_same():
    model, rows = PPORewardModel(endorm(), LENGTH), batch(ids(PROMPTS), ids(RESPONSES, [END]))
    output = getattr(model, model.base_model_prefix)(
        input_ids=rows, attention_mask=rows != 0, position_ids=None, return_dict=True, output_hidden_states=True
    )
    assert torch.equal(model.score(output.hidden_states[-1]), get_reward(model, rows, 0, LENGTH)[0])


def test_other_rewards_of_the_frozen_base_serve_too():
    base, tokenizer = FrozenBase(tiny_model()), tiny_tokenizer()
    reward = SelfCertainty(base, tokenizer)
    rows = batch(ids(PROMPTS), ids(RESPONSES, [END]))
    rewards = get_reward(PPORewardModel(reward, LENGTH), rows, 0, LENGTH)[1]
    assert rewards.tolist() == pytest.approx(reward.score(PROMPTS, RESPONSES), abs=1e-4)
