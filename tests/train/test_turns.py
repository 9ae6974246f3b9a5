"""Tools and turns: what is not the policy's own is read, but nothing is earned, learned or counted on it.

The right values come from plain loops over the policy's own tokens.
"""

import math
from pathlib import Path

import pytest
import torch
import trl
from datasets import Dataset
from helpers import COMMON, capture, grpo, history, ppo
from peft import LoraConfig
from tiny_models import judge_model, word_tokenizer
from transformers import AutoModelForCausalLM
from trl import GRPOConfig

from rewards import EndoRM, FrozenBase, StepReward, get_reward
from train.grpo_trainer import EndoGRPOTrainer
from train.ppo_math import gae
from train.ppo_trainer import PPOConfig, PPOTrainer

EOS = 2
# two turns of the policy's with an environment's tokens between them; some end with these, some never end
SHAPES = ["11100111", "1111", "11100", "110011001", "1011", "111111110", "10101", "1100"]
CHATS = Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in "abcdefgh" * 4]})
TEMPLATE = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text(encoding="utf-8")


def loop(rewards, values, own, gamma, lam):
    """Advantages of the own tokens of one response, by the recursion; the others have none."""
    following, running, result = 0.0, 0.0, [0.0] * len(own)
    for t in reversed(range(len(own))):
        if own[t]:
            running = rewards[t] + gamma * following - values[t] + gamma * lam * running
            following, result[t] = values[t], running
    return result


def two_turns(prompts, trainer):
    """An environment of two turns: responses of every shape in turn, drawn without the model."""
    generator = torch.Generator().manual_seed(trainer.state.global_step)
    masks = [[int(c) for c in SHAPES[i % len(SHAPES)]] for i in range(len(prompts))]
    ids = [torch.randint(5, 90, (len(mask),), generator=generator).tolist() for mask in masks]
    for row in ids[::2]:
        row[-1] = EOS  # also where the environment has the last word: then it ends nothing
    prompt_ids = [trainer.processing_class(p)["input_ids"] for p in prompts]
    return {"prompt_ids": prompt_ids, "completion_ids": ids, "logprobs": None, "env_mask": masks}


def earned(scores, ids, own, discount=1.0):
    """EndoRM's token rewards by the paper's formula, over own tokens as if they followed one another."""
    q, v, rewards, h = scores.q.tolist(), scores.v[1.0].tolist(), [0.0] * len(ids), 0
    for t in range(len(ids)):
        if own[t]:
            ends = t == len(ids) - 1 and ids[t] == EOS
            rewards[t] = discount**h * (q[t] - (math.log(scores.vocab_size) if ends else v[t + 1]))
            h += 1
    return rewards


@pytest.mark.parametrize("placement", ["dense", "terminal"])
@pytest.mark.parametrize("discount", [1.0, 0.95])
@pytest.mark.parametrize("lora", [False, True])
def test_ppos_advantages_are_those_of_a_loop_over_own_tokens(placement, discount, lora, saved_model, tmp_path):
    extra = {"rollout_func": two_turns} | ({"peft_config": LoraConfig(r=4)} if lora else {})
    settings = {"reward_placement": placement, "whiten_advantages": False, "gamma": 0.9, "lam": 0.8, "kl_coef": 0.5}
    trainer = ppo(saved_model, tmp_path, [EndoRM(discount=discount)], extra, max_steps=4, **settings)
    advantages = []
    real = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: advantages.append(real(inputs)) or advantages[-1]
    seen = capture(trainer)  # of the second rollout: the policy has moved, and the critic knows something
    batch, rollout = advantages[-1], seen["rollout"]
    assert float(seen["values"].abs().max()) > 0
    means = [float(row[: len(own)][own].mean()) for row, own in zip(batch["advantages"], rollout.own)]
    assert list(trainer._logs["advantages"])[-8:] == pytest.approx(means, abs=1e-4)  # as they are shown
    k1 = (batch["old_per_token_logps"] - batch["ref_per_token_logps"]).tolist()
    assert rollout.cut_off.tolist() == [
        not (mask[-1] and ids[-1] == EOS) for mask, ids in zip((o.tolist() for o in rollout.own), rollout.response_ids)
    ]
    for i, (ids, own, scores) in enumerate(zip(rollout.response_ids, rollout.own, rollout.frozen)):
        rewards, last = earned(scores, ids, own, discount), int(own.nonzero()[-1])
        if placement == "terminal":
            rewards = [sum(rewards) if t == last else 0.0 for t in range(len(ids))]
        rewards = [r - 0.5 * k1[i][t] * bool(own[t]) for t, r in enumerate(rewards)]
        expected = loop(rewards, seen["values"][i].tolist(), own, 0.9, 0.8)
        assert batch["advantages"][i, : len(ids)].tolist() == pytest.approx(expected, abs=2e-4)
        assert not batch["advantages"][i, len(ids) :].any()
    assert history(trainer, "completions/mean_length")[-1] == pytest.approx(sum(rollout.own_lengths) / 8)


def test_grpo_learns_from_the_sum_over_own_tokens(saved_model, tmp_path):
    rewards = [EndoRM(discount=0.95)]
    trainer = grpo(saved_model, tmp_path, rewards=rewards, max_steps=1, trainer_kwargs={"rollout_func": two_turns})
    seen, real = {}, trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: seen.update(batch=real(inputs)) or seen["batch"]
    trainer.train()
    rollout = trainer.rollout
    rows = zip(rollout.frozen, rollout.response_ids, rollout.own)
    totals = torch.tensor([sum(earned(scores, ids, own, 0.95)) for scores, ids, own in rows])
    assert rollout.raw_rewards[:, 0].tolist() == pytest.approx(totals.tolist(), abs=1e-3)
    groups = totals.view(-1, 4)
    expected = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(seen["batch"]["advantages"].view(-1, 4), expected, atol=1e-3, rtol=1e-3)
    mask = seen["batch"]["completion_mask"] * seen["batch"]["tool_mask"]
    assert torch.equal(rollout.mask, mask)


def test_returns_of_a_response_with_a_hole():
    """Terminal reward 1, gamma = lambda = 1: every own token's return is 1."""
    mask = torch.tensor([[1, 1, 1, 0, 0, 1, 1, 1]])
    rewards, values = torch.zeros(1, 8), torch.linspace(0.1, 0.8, 8)[None]
    rewards[0, 7] = 1.0
    advantages, returns = gae(rewards, values, torch.zeros(1), mask, 1.0, 1.0)
    assert returns[0].tolist() == pytest.approx([1, 1, 1, 0, 0, 1, 1, 1])
    assert advantages[0].tolist() == pytest.approx([(1 - v) * m for v, m in zip(values[0].tolist(), mask[0].tolist())])


@pytest.mark.parametrize("gamma,lam", [(1.0, 1.0), (0.95, 0.9), (1.0, 0.0)])
def test_gae_with_holes_is_the_loop_over_own_tokens(gamma, lam):
    width = max(map(len, SHAPES))
    mask = torch.tensor([[int(c) for c in shape.ljust(width, "0")] for shape in SHAPES])
    rewards, values = torch.randn(2, len(SHAPES), width, generator=torch.Generator().manual_seed(0)).unbind()
    advantages, _ = gae(rewards, values, torch.zeros(len(SHAPES)), mask, gamma, lam)
    for i in range(len(SHAPES)):
        expected = loop(rewards[i].tolist(), values[i].tolist(), mask[i].tolist(), gamma, lam)
        assert advantages[i].tolist() == pytest.approx(expected, abs=1e-5)


def test_every_reward_counts_own_tokens_alone(saved_model):
    """What is scored with holes is what is scored of the own tokens' statistics: means divide by own tokens, lengths
    count them, steps end on them, and tokens of the environment earn nothing."""
    base = FrozenBase(AutoModelForCausalLM.from_pretrained(saved_model))
    ids, own = [[9, 10, 11, 12, 13, 14, EOS]], [[1, 1, 0, 0, 1, 1, 1]]
    scores = base.score([[5, 6]], ids, (1.0,), distribution=True)
    mask = torch.tensor(own[0], dtype=torch.bool)
    call = {"prompts": ["a"], "completions": ["b"], "completion_ids": ids, "frozen_scores": scores, "own_tokens": own}
    log_probs = scores[0].log_probs[mask]
    cases = {
        "sequence_log_likelihood": log_probs.sum(),
        "mean_log_likelihood": log_probs.mean(),
        "self_certainty": scores[0].self_certainty[mask].mean(),
        "negative_entropy": -scores[0].entropy[mask].mean(),
    }
    for name, expected in cases.items():
        reward = get_reward(name)(base, eos_token_ids=[EOS])
        assert reward(**call)[0] == pytest.approx(float(expected), abs=1e-5)
        rows = reward.per_token(**call)[0]
        assert not rows[~mask].any()
        assert float(rows.sum()) == pytest.approx(float(expected), abs=1e-5)
    assert get_reward("length")()(**call) == [5.0]
    inner = get_reward("sequence_log_likelihood")(base, eos_token_ids=[EOS])

    class OneLine:
        def batch_decode(self, rows, **_):
            return ["\n" if row == [12] else "x" for row in rows]  # the environment ends the first line

    row = StepReward(inner, "line", "sum", OneLine()).per_token(**call)[0]
    expected = [0, float(log_probs[:2].sum()), 0, 0, 0, 0, float(log_probs[2:].sum())]
    assert row.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_tools_words_without_the_trainer_that_marks_them():
    chat = [
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "x"},
    ]
    reward = EndoRM(FrozenBase(judge_model()), word_tokenizer())
    with pytest.raises(ValueError, match="a tool or an environment speaks .* own_tokens"):
        reward(["a"], [chat], completion_ids=[[9, 10, 11]])


def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: the first.
        b: the second.
    """
    return a + b


class TwoTurns:
    """An environment with a tool of its own and its own reward."""

    def reset(self, **_):
        self.asked = 0
        return None

    def ask(self, text: str) -> str:
        """Asks for more.

        Args:
            text: what is asked.
        """
        self.asked += 1
        return f"more of {text}"

    def get_reward(self) -> float:
        return float(self.asked)


CALLS = {
    "tools": '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call><|im_end|>',
    "environment_factory": '<tool_call>\n{"name": "ask", "arguments": {"text": "it"}}\n</tool_call><|im_end|>',
}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
@pytest.mark.parametrize("kind", CALLS)
def test_trls_own_tools_and_environments_end_to_end(kind, algorithm, tmp_path):
    """TRL's loop of calls and answers; the model's words are put into its mouth, as a tiny one would call nothing."""
    tokenizer = word_tokenizer(TEMPLATE)
    tokenizer.eos_token = "<|im_end|>"
    model = judge_model(max_position_embeddings=2048, eos_token_id=tokenizer.eos_token_id)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    common = COMMON | {"max_completion_length": 400, "max_steps": 1, "learning_rate": 1e-3}
    extra = {"tools": [add]} if kind == "tools" else {"environment_factory": TwoTurns}
    extra |= {"train_dataset": CHATS, "processing_class": tokenizer}
    if algorithm == "ppo":
        settings = {"kl_coef": 0.0, "whiten_advantages": False}
        trainer = PPOTrainer(model, [EndoRM()], PPOConfig(str(tmp_path), **common, **settings), **extra)
    else:
        args = GRPOConfig(str(tmp_path), **common, num_generations=4, beta=0.01)
        trainer = EndoGRPOTrainer(model, [EndoRM()], args, **extra)
    said = iter([CALLS[kind], "so<|im_end|>", "so on"])

    def speak(prompt_ids, *_, **__):
        text = next(said)
        last = tokenizer("so<|im_end|>")["input_ids"]
        return [tokenizer(text)["input_ids"] if i % 2 else last for i in range(len(prompt_ids))], None

    trainer._generate_single_turn = speak
    seen, real = {}, trainer._with_rewards

    def keep(rollout, raw):
        seen["rollout"] = real(rollout, raw)
        return seen["rollout"]

    trainer._with_rewards = keep
    batches, real_batch = [], trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: batches.append(real_batch(inputs)) or batches[-1]
    trainer.train()
    rollout, batch = seen["rollout"], batches[0]
    holes = [not bool(own.all()) for own in rollout.own]
    assert holes == [bool(i % 2) for i in range(8)]
    eos, earned_by, soft = tokenizer.eos_token_id, [], [scores.v[1.0][:-1] for scores in rollout.frozen]
    for i, (ids, own, scores) in enumerate(zip(rollout.response_ids, rollout.own, rollout.frozen)):
        v_next = scores.v[1.0][1:].clone()
        if ids[-1] == eos and own[-1]:
            v_next[-1] = math.log(scores.vocab_size)
        tokens = (scores.q - v_next) * own
        assert float(rollout.raw_rewards[i, 0]) == pytest.approx(float(tokens.sum()), abs=1e-3)
        if kind == "environment_factory":
            assert float(rollout.raw_rewards[i, 1]) == float(holes[i])
            tokens[int(own.nonzero()[-1])] += float(holes[i])
        earned_by.append(tokens)
    if algorithm == "ppo":  # the critic is V(s) at first, moved to the mean of what was earned from each state on
        errors = [
            float(tokens[t:].sum() - v[t])
            for tokens, v, own in zip(earned_by, soft, rollout.own)
            for t in own.nonzero()[:, 0].tolist()
        ]
        for i, (tokens, v, own) in enumerate(zip(earned_by, soft, rollout.own)):
            values = (v + sum(errors) / len(errors)).tolist()
            expected = loop(tokens.tolist(), values, own, 1.0, 0.95)
            assert batch["advantages"][i, : len(own)].tolist() == pytest.approx(expected, abs=2e-3)
    assert torch.equal(batch["tool_mask"] * batch["completion_mask"], batch["completion_mask"] * trainer_mask(rollout))
    assert all(math.isfinite(x) for x in history(trainer, "loss"))


def trainer_mask(rollout):
    width = max(map(len, rollout.response_ids))
    return rollout.pad([own.long() for own in rollout.own], width)


def runs(own):
    """Where each turn ends: the last own token of each run of them."""
    return [t for t, mine in enumerate(own) if mine and (t + 1 == len(own) or not own[t + 1])]


class PerTurn:
    """A number a turn: 1, 10, 100 ..."""

    __name__ = "per_turn"
    per_turn = True

    def __call__(self, completion_ids, own_tokens, **columns):
        return [[10.0**k for k in range(len(runs(own)))] for own in own_tokens]


def test_a_reward_a_turn_is_paid_on_the_turns_last_token(saved_model, tmp_path):
    settings = {"kl_coef": 0.0, "whiten_advantages": False, "gamma": 0.9, "lam": 0.8}
    trainer = ppo(saved_model, tmp_path, [PerTurn()], {"rollout_func": two_turns}, max_steps=2, **settings)
    seen = capture(trainer)
    rollout = seen["rollout"]
    for row, total, own in zip(seen["rewards"].tolist(), rollout.raw_rewards[:, 0].tolist(), rollout.own):
        expected = [0.0] * len(row)
        for k, t in enumerate(runs(own.tolist())):
            expected[t] = 10.0**k
        assert row == expected
        assert total == sum(expected)
    counts = [len(runs(own.tolist())) for own in rollout.own]
    assert history(trainer, "completions/turns")[-1] == pytest.approx(sum(counts) / len(counts))


def test_grpo_learns_from_the_sum_over_turns(saved_model, tmp_path):
    trainer = grpo(saved_model, tmp_path, rewards=[PerTurn()], max_steps=1, trainer_kwargs={"rollout_func": two_turns})
    trainer.train()
    sums = [sum(10.0**k for k in range(len(runs(own.tolist())))) for own in trainer.rollout.own]
    assert trainer.rollout.raw_rewards[:, 0].tolist() == sums


def test_a_wrong_number_of_turn_rewards_is_refused(saved_model, tmp_path):
    wrong = PerTurn()
    wrong.__class__ = type(
        "Wrong", (PerTurn,), {"__call__": lambda self, own_tokens, **_: [[1.0] * 9] * len(own_tokens)}
    )
    trainer = ppo(saved_model, tmp_path, [wrong], {"rollout_func": two_turns})
    with pytest.raises(ValueError, match="9 turn rewards for a response of 2 turns"):
        trainer.train()


def test_endorm_by_turn_is_its_tokens_summed_over_each_turn(saved_model, tmp_path):
    rewards = [StepReward(EndoRM(), "turn")]
    trainer = ppo(saved_model, tmp_path, rewards, {"rollout_func": two_turns}, kl_coef=0.0, max_steps=1)
    seen = capture(trainer)
    rollout = seen["rollout"]
    for i, (ids, own, scores) in enumerate(zip(rollout.response_ids, rollout.own, rollout.frozen)):
        own, paid, begin = own.tolist(), earned(scores, ids, own.tolist()), 0
        for end in runs(own):
            assert seen["rewards"][i, end] == pytest.approx(sum(paid[begin : end + 1]), abs=1e-3)
            begin = end + 1
        assert int((seen["rewards"][i] != 0).sum()) <= len(runs(own))
