"""The policy proposes the problems of its rollouts itself."""

import json

import pytest
from datasets import Dataset
from helpers import COMMON, history, trained
from launching import SMALL, launch_script, logged
from tiny_models import tiny_tokenizer
from vllm_stand_in import Engine, put_in_place

from train.generation.own_problems import REQUEST, problem_of, request, with_problem
from train.grpo_trainer import EndoGRPOConfig, EndoGRPOTrainer
from train.tasks.chat_tasks import vote

GIVEN = [f"{a}+{b}=" for a in "123456" for b in "1234"]
PROBLEM = "[a-z0-9+=]{2}"  # what a tiny model writes often, if not always


def make(model, folder, reward, pattern=PROBLEM, chat=False, heldout=None, **changes):
    settings = COMMON | {"max_steps": 2, "num_generations": 4, "own_problems": pattern} | changes
    args = EndoGRPOConfig(output_dir=str(folder), **settings)
    prompts = [[{"role": "system", "content": "hi"}, {"role": "user", "content": p}] if chat else p for p in GIVEN]
    rows = {"prompt": prompts, "answer": [str(eval(p[:-1])) for p in GIVEN]}
    kwargs = {"train_dataset": Dataset.from_dict(rows), "eval_dataset": heldout, "processing_class": tiny_tokenizer()}
    return EndoGRPOTrainer(model, [reward], args, **kwargs)


@pytest.mark.parametrize("chat", [False, True])
def test_a_rollout_is_of_the_policys_own_problems(chat, saved_model, tmp_path):
    seen = []

    def watch(prompts, answer, **_):
        seen.extend(zip(prompts, answer))
        return [float(i % 3) for i in range(len(prompts))]

    trainer = trained(make(saved_model, tmp_path, watch, chat=chat, max_completion_length=12))
    problems = [problem_of(prompt) for prompt, _ in seen]
    assert len(problems) == 8
    assert [problems[0]] * 4 + [problems[4]] * 4 == problems  # one a group
    own = [problem for problem in problems if problem not in GIVEN]
    assert own, "the tiny model proposes something in twelve tokens and four tries"
    assert len(own) / 8 == history(trainer, "own_problems/groups")[0]
    for prompt, answer in seen:
        assert (answer is None) == (problem_of(prompt) in own)  # the answer to another problem is none
        assert not chat or prompt[0] == {"role": "system", "content": "hi"}
    shares = [history(trainer, f"own_problems/{name}")[0] for name in ("unreadable", "held_out", "repeated")]
    assert all(0 <= share <= 1 for share in shares)


def test_what_is_held_out_or_unreadable_is_not_asked(saved_model, tmp_path):
    seen = []

    def watch(prompts, **_):
        seen.extend(prompts)
        return [0.0] * len(prompts)

    trainer = trained(make(saved_model, tmp_path / "never", watch, pattern="never written"))
    assert set(seen) <= set(GIVEN)  # the dataset's own problems stay
    assert history(trainer, "own_problems/groups") == [0.0]
    assert history(trainer, "own_problems/unreadable") == [1.0]
    seen.clear()
    heldout = Dataset.from_dict({"prompt": [chr(c) for c in range(32, 127)]})
    trainer = trained(make(saved_model, tmp_path / "held", watch, pattern="[ -~]", heldout=heldout))
    assert set(seen) <= set(GIVEN)
    assert history(trainer, "own_problems/held_out")[0] + history(trainer, "own_problems/unreadable")[0] == 1
    assert history(trainer, "own_problems/held_out")[0] > 0


def test_kept_are_those_whose_majority_is_neither_all_nor_none(saved_model, tmp_path):
    """Dynamic sampling asks for further proposals in place of groups without a spread."""
    seen = []

    def majority(prompts, completions, trainer_state=None, **_):
        answers = [c[:1] if len(c) > 1 else None for c in completions]
        rewards = [r for i in range(0, len(answers), 4) for r in vote(answers[i : i + 4])]
        seen.append((list(prompts), rewards))
        return rewards

    trainer = trained(make(saved_model, tmp_path, majority, dynamic_sampling=8))
    prompts, rewards = seen[-1]
    assert history(trainer, "dynamic_sampling/groups_with_spread") == [1.0]
    assert all(0 < sum(rewards[i : i + 4]) < 4 for i in (0, 4))
    assert prompts[0] != prompts[4]


@pytest.mark.slow
def test_a_resumed_run_proposes_the_same(saved_model, tmp_path):
    asked: list[str] = []

    def watch(prompts, completions, **_):
        asked.extend(prompts)
        return [float(len(c)) for c in completions]

    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    make(saved_model, tmp_path / "whole", watch, **settings).train()
    whole, asked[:] = list(asked), []
    resumed = make(saved_model, tmp_path / "resumed", watch, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert asked == whole[8:]


def test_off_by_default_and_what_cannot_be(saved_model, tmp_path):
    def none(prompts, **_):
        return [0.0] * len(prompts)

    assert "own_problems/groups" not in trained(make(saved_model, tmp_path, none, None)).state.log_history[0]
    with pytest.raises(ValueError, match=r"no regular expression \(.*\): '\['"):
        make(saved_model, tmp_path, none, "[")
    with pytest.raises(ValueError, match="own_problems_examples 25: give 1 to 24"):
        make(saved_model, tmp_path, none, own_problems_examples=25)


def test_the_request_and_the_row():
    assert request(["1+1=", "2+2="], chat=False) == "1+1=\n\n2+2=\n\n"
    chat = request(["1+1="], chat=True)
    assert [m["role"] for m in chat] == ["user", "assistant", "user"]
    assert [m["content"] for m in chat] == [REQUEST, "1+1=", REQUEST]
    row = {"prompt": "1+1=", "answer": "2", "tools": ["t"]}
    assert with_problem(row, "2+3=") == {"prompt": "2+3=", "answer": None, "tools": ["t"]}


@pytest.mark.slow
def test_two_processes_ask_the_same(rehearsal, problems, tmp_path):
    """Groups that lie across both have one problem; a reward that compares a group's prompts would say otherwise."""
    reward = tmp_path / "one.py"
    reward.write_text(
        "from rewards.groups import gather_groups\n\n\n"
        "def size(prompts, **_):\n"
        "    groups, places = gather_groups(prompts, [0] * len(prompts))\n"
        "    return [float(len(groups[number])) for number, _ in places]\n"
    )
    fields = SMALL | {"bf16": False, "dtype": "float32", "frozen_dtype": "float32", "own_problems": "[ -~]{4,12}"}
    fields |= {"model_name_or_path": rehearsal, "dataset_name": problems, "num_generations": 4, "report_to": "none"}
    fields |= {"rewards": json.dumps([{"name": f"{reward}:size"}, {"name": "endorm", "weight": 0.1}])}
    fields |= {"steps_per_generation": 3, "max_steps": 9, "save_steps": 9, "own_problems_examples": 2}
    config = ["--config_file", "configs/accelerate/cpu_ddp.yaml"]
    recipe = "configs/math/grpo_qwen2.5_math_7b.yaml"
    launch_script(["train/grpo_endorm.py"], recipe, tmp_path / "run", config, **fields)
    rows = [row for row in logged(tmp_path / "run") if "own_problems/groups" in row]
    assert rows
    assert any(row["own_problems/groups"] > 0 for row in rows)
    assert all(row["rewards/size/mean"] == 4 for row in rows)


def test_proposals_come_from_vllm_too(saved_model, tmp_path, monkeypatch):
    put_in_place(Engine(saved_model), monkeypatch.setattr)
    asked = []

    def watch(prompts, **_):
        asked.extend(prompts)
        return [float(i % 3) for i in range(len(prompts))]

    vllm = {"use_vllm": True, "vllm_mode": "server", "dynamic_sampling": 2, "max_completion_length": 12}
    trainer = trained(make(saved_model, tmp_path, watch, **vllm))
    assert [problem for problem in asked if problem not in GIVEN]
    assert history(trainer, "own_problems/groups")[0] > 0
    assert history(trainer, "sampling/sampling_logp_difference/max") == pytest.approx([0], abs=1e-5)
