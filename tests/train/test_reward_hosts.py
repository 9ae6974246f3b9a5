"""Which model scores for which reward: the frozen base that the trainer lends, or one of the reward's own."""

import pytest
from helpers import grpo, history, ppo, trained
from tiny_models import judge_model, tiny_model, tiny_tokenizer

from rewards import EndoRM, FrozenBase, Rubric, StepReward
from rewards.frozen.loading import load_causal_lm

LETTERS = {"answers": ["y", "n"], "criteria": ["a", {"criterion": "b", "weight": -0.2}]}


@pytest.fixture
def short(tmp_path):
    """A template that fits into a tiny model."""
    path = tmp_path / "short.txt"
    path.write_text("{prompt}:{response}:{criterion}?")
    return str(path)


@pytest.fixture(scope="module")
def base():
    return FrozenBase(judge_model())


def test_in_a_trainer_of_its_own_end_tokens_and_steps(base, saved_judge, saved_model, tmp_path):
    """Dense PPO on ids of the policy; a reward per step decodes the policy's ids, not the teacher's."""
    from helpers import capture, ppo

    teacher = EndoRM.from_pretrained(saved_judge, device="cpu")
    step = StepReward(EndoRM.from_pretrained(saved_judge, device="cpu"), "line")
    trainer = ppo(saved_model, tmp_path, [teacher, step], reward_weights=[1.0, 0.0], kl_coef=0.0, max_steps=1)
    assert teacher.across is not None
    assert step.inner.across is not None
    assert step.tokenizer.get_vocab() == tiny_tokenizer().get_vocab()
    forwards = trainer.frozen_base.forwards
    seen = capture(trainer)
    assert (trainer.frozen_base.forwards - forwards, teacher.base.forwards) == (1, 1)  # the second forward it costs
    policy = tiny_tokenizer()
    for row, ids in zip(seen["rewards"], seen["ids"]):
        assert not row[len(ids) :].any()
        if ids[-1] == 2:  # complete
            text = policy.decode(ids, skip_special_tokens=True)
            totals = [
                teacher.score([prompt], [text])[0] for prompt in ("ab", "cde", "f", "gh=", "ijk", "l", "mn", "o+p")
            ]
            assert min(abs(float(row.sum()) - total) for total in totals) < 1e-3


def test_the_same_tokenizer_is_not_crossed(saved_model, tmp_path):
    from helpers import capture, ppo

    teacher = EndoRM(FrozenBase(tiny_model(seed=5)), tiny_tokenizer())
    trainer = ppo(saved_model, tmp_path, [teacher], kl_coef=0.0, max_steps=1)
    assert teacher.across is None
    seen = capture(trainer)
    assert (trainer.frozen_base is not teacher.base, teacher.base.forwards) == (True, 1)
    assert len({float(row[0]) for row in seen["rewards"]}) > 1


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_the_trainers_lend_their_frozen_base(algorithm, saved_model, tmp_path, short):
    seen = []

    def watch(prompts, completions, **_):
        seen.extend(zip(prompts, completions))
        return [0.0] * len(prompts)

    rubric = Rubric(template=short, **LETTERS)
    trainer = trained(algorithm(saved_model, tmp_path, rewards=[rubric, watch], max_steps=1))
    assert rubric.base is trainer.frozen_base
    own = Rubric(load_causal_lm(saved_model, device="cpu")[0], tiny_tokenizer(), template=short, **LETTERS)
    expected = own.score(*zip(*seen))
    assert len(set(expected)) > 2
    assert history(trainer, "rewards/rubric/mean") == pytest.approx([sum(expected) / len(seen)], rel=1e-4)
    assert history(trainer, "rubric/criterion_2")[0] > 0


def test_a_lent_base_is_asked_in_an_own_forward(saved_model, tmp_path, short):
    trainer = trained(ppo(saved_model, tmp_path, rewards=[Rubric(template=short, **LETTERS)], max_steps=1))
    assert isinstance(trainer.frozen_base, FrozenBase)
    assert trainer.frozen_base.forwards == 2  # the rollout's, and the rubric's
