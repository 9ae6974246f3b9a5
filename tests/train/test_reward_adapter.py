"""Which reward lands on which token in PPO: dense, terminal, other rewards, cut-off responses, the KL penalty."""

import pytest
import torch
from helpers import capture, grpo, history, ppo, trained

from rewards import EndoRM
from train.reward_adapter import TokenReward


def expected_endorm(seen, **settings):
    rm = EndoRM(eos_token_ids=[2], **settings)
    rm.base = seen["scores"][0].base
    return [r.tolist() for r in rm.per_token([None] * 8, [None] * 8, seen["ids"], frozen_scores=seen["scores"])]


def test_dense_places_each_tokens_reward_and_terminal_their_sum_on_the_last(saved_model, tmp_path):
    settings = {"discount": 0.9, "floor": 0.2, "alpha": 0.7}
    for placement in ("dense", "terminal"):
        trainer = ppo(
            saved_model, tmp_path, [EndoRM(**settings)], reward_placement=placement, kl_coef=0.0, max_steps=1
        )
        seen = capture(trainer)
        for row, tokens in zip(seen["rewards"], expected_endorm(seen, **settings)):
            if placement == "dense":
                assert row[: len(tokens)].tolist() == pytest.approx(tokens, abs=1e-4)
            else:
                assert float(row[len(tokens) - 1]) == pytest.approx(sum(tokens), abs=1e-4)
                assert not row[: len(tokens) - 1].any()
            assert not row[len(tokens) :].any()


def test_other_rewards_weights_none_and_token_lists(saved_model, tmp_path):
    def length(completion_ids, **_):
        return [float(len(ids)) if i else None for i, ids in enumerate(completion_ids)]

    def ramp(completion_ids, **_):
        return [[float(h) for h in range(len(ids))] for ids in completion_ids]

    trainer = ppo(
        saved_model, tmp_path, [length, ramp, EndoRM()], reward_weights=[2.0, 0.5, 0.0], kl_coef=0.0, max_steps=1
    )
    seen = capture(trainer)
    for i, (row, ids) in enumerate(zip(seen["rewards"], seen["ids"])):
        n = len(ids)
        expected = [0.5 * h for h in range(n)]
        expected[-1] += 2.0 * n if i else 0.0
        assert row[:n].tolist() == pytest.approx(expected, abs=1e-5)
    assert history(trainer, "rewards/ramp/mean")[0] == pytest.approx(
        sum(len(ids) * (len(ids) - 1) / 2 for ids in seen["ids"]) / 8
    )


def test_rows_of_a_reward_that_gives_a_list_a_number_and_none():
    """On tokens that are not the policy's nothing counts: neither in the sums that TRL sees nor in the rows."""
    own = [[1, 0, 1, 1, 0], [1, 1, 0], [0, 1]]
    reward = TokenReward(lambda **_: [[1.0, 10.0, 2.0, 4.0, 20.0], 5.0, None], dense=True)
    assert reward(own_tokens=own) == [7.0, 5.0, None]
    rows = reward.token_rows([torch.tensor(mask, dtype=torch.bool) for mask in own])
    nan = torch.nan
    expected = [[1.0, nan, 2.0, 4.0, nan], [0.0, 5.0, nan], [nan, nan]]
    for row, numbers in zip(rows, expected):
        torch.testing.assert_close(row, torch.tensor(numbers), equal_nan=True)
    assert reward() == [37.0, 5.0, None]  # of a response without an environment every token counts


def test_a_token_list_of_the_wrong_length_is_an_error(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, [lambda completion_ids, **_: [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]] * 8])
    with pytest.raises(ValueError, match="7 token rewards for a response of"):
        trainer.train()


@pytest.mark.parametrize("algorithm", [ppo, grpo])
@pytest.mark.parametrize("bad", [float("nan"), [1.0, float("inf")]])
def test_a_reward_that_is_not_finite_is_an_error(algorithm, bad, saved_model, tmp_path):
    trainer = algorithm(saved_model, tmp_path, rewards=[lambda completions, **_: [0.0] * 7 + [bad]])
    with pytest.raises(ValueError, match="returned .* for response 7: return finite numbers, or None"):
        trainer.train()


def test_grpo_sums_token_rewards(saved_model, tmp_path):
    def ramp(completion_ids, **_):
        return [[float(h) for h in range(len(ids))] for ids in completion_ids]

    def total(completion_ids, **_):
        return [len(ids) * (len(ids) - 1) / 2 for ids in completion_ids]

    trainer = trained(grpo(saved_model, tmp_path, rewards=[ramp, total], max_steps=1))
    assert history(trainer, "rewards/ramp/mean") == pytest.approx(history(trainer, "rewards/total/mean"))


def test_cut_off_responses_end_there_and_can_be_penalised(saved_model, tmp_path):
    seen = {
        p: capture(ppo(saved_model, tmp_path, missing_eos_penalty=p, kl_coef=0.0, max_steps=1)) for p in (0.0, 3.0)
    }
    cut_off = torch.tensor([ids[-1] != 2 for ids in seen[0.0]["ids"]])
    assert cut_off.any()
    assert not seen[0.0]["last_values"].any()
    ends = torch.tensor([len(ids) - 1 for ids in seen[0.0]["ids"]])
    difference = seen[0.0]["rewards"] - seen[3.0]["rewards"]
    assert difference[torch.arange(8), ends].tolist() == pytest.approx([3.0 * bool(c) for c in cut_off])
    for row, tokens in zip(seen[0.0]["rewards"], expected_endorm(seen[0.0])):
        assert row[: len(tokens)].tolist() == pytest.approx(tokens, abs=1e-4)


def test_cut_off_responses_can_be_left_out(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, mask_truncated_completions=True, max_steps=1)
    seen = capture(trainer)
    cut_off = [ids[-1] != 2 for ids in seen["ids"]]
    assert [not row.any() for row in seen["mask"]] == cut_off


def test_kl_penalty_is_k1_on_every_token(saved_model, tmp_path):
    """In the second rollout the policy has moved: rewards with and without the penalty differ by kl_coef * k1."""
    rollouts = {}
    for kl_coef in (0.0, 0.25):
        trainer = ppo(saved_model, tmp_path, kl_coef=kl_coef, learning_rate=0.0, max_steps=1)
        with torch.no_grad():
            torch.manual_seed(3)
            for p in trainer.model.parameters():
                p.add_(0.05 * torch.randn_like(p))
        trainer._same_model = False  # the first rollout's check would find the policy changed, and be right
        seen = capture(trainer)
        rollouts[kl_coef] = (seen, history(trainer, "kl/k1")[0], history(trainer, "kl/k3")[0])
    (plain, k1, k3), (penalised, _, _) = rollouts[0.0], rollouts[0.25]
    assert plain["ids"] == penalised["ids"]
    per_token = (plain["rewards"] - penalised["rewards"]) / 0.25
    assert float(per_token.sum() / plain["mask"].sum()) == pytest.approx(k1, abs=1e-5)
    assert k3 > 0
