"""Both trainers, in process, on tiny models: what they add to TRL, and that TRL still is what they rely on."""

import json
import logging
import math

import pytest
import torch
from conftest import PROMISED, SHARED, tiny_model, tiny_tokenizer
from datasets import Dataset, concatenate_datasets
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer

from rewards import EndoRM, FrozenBase
from train.grpo_trainer import EndoGRPOTrainer
from train.ppo_trainer import PPOConfig, PPOTrainer

COMMON = {
    "per_device_train_batch_size": 4,
    "steps_per_generation": 2,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
}
PROMPTS = Dataset.from_dict({"prompt": ["ab", "cde", "f", "gh=", "ijk", "l", "mn", "o+p"] * 4})


def ppo(model, folder, rewards=None, trainer_kwargs=None, **changes):
    args = PPOConfig(output_dir=str(folder), **(COMMON | {"max_steps": 2} | changes))
    rewards = rewards or [EndoRM()]
    kwargs = {"train_dataset": PROMPTS, "processing_class": tiny_tokenizer()} | (trainer_kwargs or {})
    return PPOTrainer(model, rewards, args, **kwargs)


def grpo(model, folder, cls=EndoGRPOTrainer, rewards=None, **changes):
    settings = COMMON | {"max_steps": 2, "num_generations": 4, "beta": 0.01} | changes
    rewards = rewards or [EndoRM()]
    args = GRPOConfig(output_dir=str(folder), **settings)
    return cls(model, rewards, args, train_dataset=PROMPTS, processing_class=tiny_tokenizer())


def trained(trainer):
    trainer.train()
    return trainer


def history(trainer, key):
    return [row[key] for row in trainer.state.log_history if key in row]


# ---------------------------------------------------------------- the one frozen forward


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_one_frozen_forward_a_rollout_for_kl_reward_and_critic(algorithm, saved_model, tmp_path):
    trainer = algorithm(saved_model, tmp_path, max_steps=4)  # two rollouts of two updates
    calls = []
    frozen = trainer.frozen_base._lm.base_model
    frozen.register_forward_hook(lambda *_: calls.append(1))
    trainer.train()
    assert trainer.frozen_base.forwards == 2
    assert len(calls) == 2 + 2  # and one tiny self-check of the head, which runs the backbone twice
    assert trainer.ref_model is None
    assert all(math.isfinite(x) for x in history(trainer, "reward"))


def test_reference_log_probs_are_trls_own(saved_model, tmp_path):
    """The same seed gives the same rollout; our shared forward and TRL's reference model must then give one loss."""
    rewards = [lambda completions, **_: [float(len(c)) for c in completions]]
    settings = {"rewards": rewards, "beta": 0.5, "optim": "sgd", "learning_rate": 0.1}
    ours = trained(grpo(saved_model, tmp_path / "a", **settings))
    theirs = trained(grpo(saved_model, tmp_path / "b", cls=GRPOTrainer, **settings))
    for key in ("loss", "kl", "reward", "entropy"):
        assert history(ours, key) == pytest.approx(history(theirs, key), rel=1e-4, abs=1e-6)
    assert history(ours, "kl")[-1] > 0


def test_endorm_in_an_unmodified_trl_trainer(saved_model, tmp_path):
    rm = EndoRM.from_pretrained(saved_model, device="cpu")
    theirs = trained(grpo(saved_model, tmp_path / "a", cls=GRPOTrainer, rewards=[rm], max_steps=1))
    ours = trained(grpo(saved_model, tmp_path / "b", max_steps=1))
    assert history(ours, "rewards/endorm/mean") == pytest.approx(history(theirs, "rewards/endorm/mean"), rel=1e-4)


# ---------------------------------------------------------------- token rewards


def capture(trainer):
    """Run one rollout and return what went into GAE: its inputs and the trainer's scores."""
    seen = {}
    import train.ppo_trainer as module

    real = module.gae

    def spy(rewards, values, last_values, mask, gamma, lam):
        seen.update(rewards=rewards.clone(), values=values, last_values=last_values, mask=mask)
        return real(rewards, values, last_values, mask, gamma, lam)

    real_rewards = trainer._calculate_rewards

    def keep(*args):
        result = real_rewards(*args)
        seen["scores"], seen["ids"] = list(trainer._scores), args[3]
        return result

    trainer._calculate_rewards = keep
    module.gae = spy
    try:
        trainer.train()
    finally:
        module.gae = real
    return seen


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


def test_cut_off_responses_are_bootstrapped_and_can_be_penalised(saved_model, tmp_path):
    seen = {
        p: capture(ppo(saved_model, tmp_path, missing_eos_penalty=p, kl_coef=0.0, max_steps=1)) for p in (0.0, 3.0)
    }
    cut_off = torch.tensor([ids[-1] != 2 for ids in seen[0.0]["ids"]])
    assert cut_off.any()
    assert ((seen[0.0]["last_values"] != 0) == cut_off).all()
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
        seen = capture(trainer)
        rollouts[kl_coef] = (seen, history(trainer, "kl/k1")[0], history(trainer, "kl/k3")[0])
    (plain, k1, k3), (penalised, _, _) = rollouts[0.0], rollouts[0.25]
    assert plain["ids"] == penalised["ids"]
    per_token = (plain["rewards"] - penalised["rewards"]) / 0.25
    assert float(per_token.sum() / plain["mask"].sum()) == pytest.approx(k1, abs=1e-5)
    assert k3 > 0


# ---------------------------------------------------------------- LoRA


def test_lora_needs_no_second_copy_and_the_base_is_the_adapter_off(saved_model, tmp_path):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    trainer = ppo(saved_model, tmp_path, trainer_kwargs={"peft_config": lora}, max_steps=1)
    plain = AutoModelForCausalLM.from_pretrained(saved_model)
    size = sum(p.numel() for p in plain.parameters())
    adapter = sum(p.numel() for n, p in trainer.model.named_parameters() if "lora_" in n)
    assert sum(p.numel() for p in trainer.model.parameters()) == size + adapter
    assert {id(p) for p in trainer.frozen_base._lm.parameters()} <= {id(p) for p in trainer.model.parameters()}
    prompts, responses = [[5, 6], [7]], [[8, 9, 2], [10, 11]]
    ours = trainer.frozen_base.score(prompts, responses)
    for a, b in zip(ours, FrozenBase(plain).score(prompts, responses)):
        torch.testing.assert_close(a.log_probs, b.log_probs, atol=1e-5, rtol=0)
    with torch.no_grad():  # the adapter is on for everybody else, and does something
        ids = torch.tensor([[5, 6, 8, 9, 2]])
        assert not torch.allclose(trainer.model(ids).logits, plain(ids).logits, atol=1e-2)
    trainer.train()
    assert trainer.frozen_base.forwards == 2
    assert math.isfinite(history(trainer, "loss")[0])


# ---------------------------------------------------------------- learning, metrics, resume


def test_every_promised_metric_is_logged_and_finite(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, num_iterations=2, max_steps=4)
    trainer.train()
    row = {k: v for log in trainer.state.log_history for k, v in log.items()}
    promised = PROMISED.split()
    assert [name for name in promised if name not in row] == []
    assert [name for name in promised if not math.isfinite(row[name])] == []


def test_ppo_learns_from_a_reward_it_can_get(saved_model, tmp_path):
    """One rollout per prompt: the policy learns to write the half of the vocabulary that is paid for."""

    def low(completion_ids, **_):
        return [[float(i < 48) for i in ids] for ids in completion_ids]

    settings = {"per_device_train_batch_size": 16, "num_iterations": 2, "learning_rate": 1e-2, "kl_coef": 0.0}
    more = {"train_dataset": concatenate_datasets([PROMPTS, PROMPTS])}
    trainer = trained(ppo(saved_model, tmp_path, [low], more, max_steps=80, **settings))
    shares = [r / n for r, n in zip(history(trainer, "reward"), history(trainer, "completions/mean_length"))]
    assert shares[0] < 0.7
    assert sum(shares[-3:]) / 3 > 0.9


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_resume_in_the_middle_of_a_rollout_continues_to_the_same_losses(algorithm, saved_model, tmp_path):
    """Rollouts serve 2 x 2 updates, and the checkpoint after update 3 lies in the middle of the first."""
    settings = {"num_iterations": 2, "save_strategy": "steps", "save_steps": 3, "max_steps": 6}
    whole = algorithm(saved_model, tmp_path / "whole", **settings)
    whole.train()
    resumed = algorithm(saved_model, tmp_path / "resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    for key in ("loss", "reward", "critic/loss"):
        assert history(resumed, key) == pytest.approx(history(whole, key), abs=1e-6)
    assert resumed.state.global_step == 6
    for trainer in (whole, resumed):
        trainer.save_model()
    files = ["model.safetensors"] + (["critic.safetensors"] if algorithm is ppo else [])
    for file in files:
        a, b = (load_file(tmp_path / run / file) for run in ("whole", "resumed"))
        for name in a:
            torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=0)


def test_saved_policy_generates_with_plain_transformers(saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, max_steps=1)
    trainer.train()
    trainer.save_model()
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False)
    assert ids.shape[1] > 3
    assert not (tmp_path / "model.bin").exists()


# ---------------------------------------------------------------- bad input


def test_a_dataset_smaller_than_one_rollout(saved_model, tmp_path):
    few = {"train_dataset": PROMPTS.select(range(7))}
    with pytest.raises(ValueError, match="7 prompts, but one rollout takes 8"):
        ppo(saved_model, tmp_path, trainer_kwargs=few)


def test_a_frozen_base_with_another_tokenizer(saved_model, tmp_path):
    tiny_model().save_pretrained(tmp_path / "other")
    tiny_tokenizer(shift=9).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="tokenizer of the frozen base .* is not the policy's"):
        ppo(saved_model, tmp_path, trainer_kwargs={"frozen_base": str(tmp_path / "other")})
    with pytest.raises(ValueError, match="tokenizer of the reward is not the policy's"):
        ppo(saved_model, tmp_path, [EndoRM.from_pretrained(str(tmp_path / "other"), device="cpu")])


def test_equal_rewards_are_said_and_harmless(saved_model, tmp_path, caplog):
    trainer = ppo(saved_model, tmp_path, [lambda completions, **_: [1.0] * len(completions)], kl_coef=0.0, max_steps=1)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert "all 8 rewards of this rollout are equal (1)" in caplog.text
    assert math.isfinite(history(trainer, "loss")[0])


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"beta": 0.1}, "set kl_coef"),
        ({"reward_placement": "last"}, "reward_placement"),
        ({"gamma": 1.2}, "gamma and lam"),
        ({"whiten_floor": 0.0}, "whiten_floor"),
        ({"per_device_train_batch_size": 1, "steps_per_generation": 1}, "rollout of one response"),
    ],
)
def test_settings_that_make_no_sense(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        PPOConfig(output_dir=str(tmp_path), **(COMMON | changes))


def test_an_unsaved_model_is_its_own_frozen_base(tmp_path):
    model = tiny_model(initializer_range=0.2)
    trainer = ppo(model, tmp_path, max_steps=1)
    before = [p.clone() for p in trainer.frozen_base._lm.parameters()]
    trainer.train()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.frozen_base._lm.parameters()))
    moved = zip(trainer.model.parameters(), trainer.frozen_base._lm.parameters())
    assert any(not torch.equal(a, b) for a, b in moved)


# ---------------------------------------------------------------- what we rely on in TRL


def test_contract_with_trl(saved_model, tmp_path):
    """If this fails after an upgrade, TRL changed something that the trainers build on: read its change first."""
    seen = {}

    class Probe(GRPOTrainer):
        def _generate(self, prompts):
            result = super()._generate(prompts)
            seen["generated"] = result
            return result

        def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
            seen["columns"] = [{**example, "probe": i} for i, example in enumerate(inputs)]
            rewards = super()._calculate_rewards(seen["columns"], prompts, completions, completion_ids_list)
            seen["rewards"] = rewards
            return rewards

        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            seen["output"] = output
            shape = output["completion_mask"].shape
            output["advantages"] = torch.ones(shape)  # (B, T) advantages must be accepted
            return output

    def reward(prompts, completions, completion_ids, probe, **_):
        seen["probe"] = probe
        return [0.0] * len(prompts)

    trainer = grpo(saved_model, tmp_path, cls=Probe, rewards=[reward], max_steps=1, beta=0.0)
    trainer.train()
    prompt_ids, completion_ids = seen["generated"][:2]
    assert isinstance(prompt_ids[0][0], int)
    assert isinstance(completion_ids[0][0], int)
    assert seen["probe"] == list(range(8))  # extra columns reach reward functions
    assert seen["rewards"].shape == (8, 1)
    keys = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch"}
    assert keys <= set(seen["output"])
    assert "old_per_token_logps" in seen["output"]  # two updates a rollout are off-policy
    for name in (
        "eos_token_ids",
        "reward_weights",
        "reward_func_names",
        "_step",
        "_buffered_inputs",
        "_metrics",
        "_logs",
    ):
        assert hasattr(trainer, name)


def test_real_maths_rows_through_ppo(saved_model, tmp_path):
    path = SHARED / "data" / "math_train.jsonl.gz"
    if not path.exists():
        pytest.skip("the MATH rows are not at hand")
    from train.math_data import DataArguments, load_prompts

    tokenizer = tiny_tokenizer()
    data = DataArguments(dataset_name=str(path), dataset_split="train[:200]", max_prompt_length=300)
    dataset, counts = load_prompts(data, tokenizer)
    assert counts["kept"] + counts["too_long"] + counts["no_answer"] == 200
    model = tiny_model(initializer_range=0.2, max_position_embeddings=400)
    trainer = ppo(model, tmp_path, trainer_kwargs={"train_dataset": dataset, "processing_class": tokenizer})
    trainer.train()
    assert json.dumps(trainer.state.log_history)
    assert all(math.isfinite(x) for x in history(trainer, "reward"))
