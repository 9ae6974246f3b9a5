"""A run goes on from a checkpoint as the run that wrote it would have, or the checkpoint is refused in words."""

import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from helpers import PROMPTS, grpo, history, length, ppo, trained
from peft import LoraConfig
from tiny_models import tiny_model, tiny_tokenizer
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from rewards import EndoRM
from train.checkpoints import COMPLETE, check_resumable, newest_complete, run_facts

pytestmark = pytest.mark.slow

SETTINGS = {"num_iterations": 2, "save_strategy": "steps", "save_steps": 3, "max_steps": 4}


LATER = {"max_steps": 19, "save_strategy": "steps", "save_steps": 1}


@pytest.fixture(scope="module", params=[ppo, grpo])
def late(request, saved_model, tmp_path_factory):
    """Makes runs of more than two epochs of 8 steps, and one that has run, with a checkpoint after each update."""
    prompts = PROMPTS.select(range(32 if request.param is ppo else 8))

    def make(folder):
        return request.param(saved_model, folder, trainer_kwargs={"train_dataset": prompts}, **LATER)

    return make, trained(make(tmp_path_factory.mktemp("late")))


def lora(**changes):
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | changes
    return {"peft_config": LoraConfig(**settings)}


@pytest.fixture(scope="module")
def written(saved_model, tmp_path_factory):
    """Runs with a checkpoint after update 3 of 4: {kind: its trainer}, and the folder that they are in."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {
        "ppo": ppo(saved_model, folder / "ppo", **SETTINGS),
        "grpo": grpo(saved_model, folder / "grpo", **SETTINGS),
        "lora": ppo(saved_model, folder / "lora", trainer_kwargs=lora(), **SETTINGS),
        "q_proj": ppo(saved_model, folder / "q_proj", trainer_kwargs=lora(target_modules=["q_proj"]), **SETTINGS),
    }
    return {kind: trained(run) for kind, run in runs.items()}, folder


@pytest.fixture
def checkpoint(written, tmp_path):
    """A copy of the checkpoint of a kind of run, for a test to spoil."""

    def copy(kind):
        return Path(shutil.copytree(written[1] / kind / "checkpoint-3", tmp_path / "checkpoint-3"))

    return copy


def refused(trainer, folder, error=ValueError):
    """The message of what refuses the checkpoint, and nothing was trained."""
    with pytest.raises(error) as info:
        trainer.train(resume_from_checkpoint=str(folder))
    assert trainer.state.global_step == 0
    return str(info.value)


@pytest.mark.parametrize(
    "algorithm,name,value,old",
    [
        (ppo, "steps_per_generation", 4, 2),
        (ppo, "steps_per_generation", 1, 2),
        (grpo, "per_device_train_batch_size", 8, 4),
        (ppo, "gradient_accumulation_steps", 2, 1),
        (grpo, "num_generations", 2, 4),
        (ppo, "num_iterations", 1, 2),
        (ppo, "seed", 1, 42),
        (grpo, "optim", "sgd", "adamw_torch_fused"),
        (ppo, "learning_rate", 1e-4, 1e-2),
        (ppo, "critic_learning_rate", 0.1, 1e-3),
        (ppo, "critic_width", 8, 256),
    ],
)
def test_another_setting_is_named_with_both_values(algorithm, name, value, old, written, saved_model, tmp_path):
    trainer = algorithm(saved_model, tmp_path, **(SETTINGS | {name: value}))
    folder = written[1] / algorithm.__name__ / "checkpoint-3"
    message = refused(trainer, folder)
    assert f"is of another run: {name} is {value} here and {old} in the checkpoint." in message
    assert message.endswith(
        f"Resume with the checkpoint's values, or start from its weights with --model_name_or_path {folder}."
    )


def test_every_difference_is_named_and_max_steps_is_none(written, saved_model, tmp_path):
    """As many processes and the same sharding cannot be had here: the facts of this run are edited."""
    folder = written[1] / "ppo" / "checkpoint-3"
    facts = run_facts(ppo(saved_model, tmp_path, **(SETTINGS | {"max_steps": 100})))
    check_resumable(folder, facts)
    said = "processes is 2 here and 1 in .*; sharding is ZeRO-2 here and none in .*; steps_per_generation is 8 here"
    with pytest.raises(ValueError, match=said):
        check_resumable(folder, facts | {"processes": 2, "sharding": "ZeRO-2", "steps_per_generation": 8})


@pytest.mark.parametrize("algorithm,other", [(ppo, "grpo"), (grpo, "ppo")])
def test_the_other_algorithm(algorithm, other, written, saved_model, tmp_path):
    message = refused(algorithm(saved_model, tmp_path, **SETTINGS), written[1] / other / "checkpoint-3")
    assert f"algorithm is {algorithm.__name__.upper()} here and {other.upper()} in the checkpoint" in message


def test_another_model(written, saved_model, tmp_path):
    for name, model in {"llama": tiny_model("llama"), "twin": tiny_model(initializer_range=0.2, seed=1)}.items():
        model.save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    folder = written[1] / "grpo" / "checkpoint-3"
    message = refused(grpo(str(tmp_path / "llama"), tmp_path, **SETTINGS), folder)
    assert "model is a llama of " in message
    assert "here and a qwen2 of " in message
    # its weights would be replaced by the checkpoint's, but not those of the frozen base
    message = refused(grpo(str(tmp_path / "twin"), tmp_path, **SETTINGS), folder)
    assert "is of another run: frozen_base is weights with hash" in message
    moved = shutil.copytree(saved_model, tmp_path / "moved")
    check_resumable(folder, run_facts(grpo(str(moved), tmp_path, **SETTINGS)))


@pytest.mark.parametrize(
    "kind,changes,said",
    [
        ("lora", {"r": 8}, "lora_r is 8 here and 4 in"),
        ("lora", {"lora_alpha": 16}, "lora_alpha is 16 here and 8 in"),
        # 2 layers of r x (32 + 32): query and output projections are of the same size
        ("q_proj", {"target_modules": ["o_proj"]}, "what is trained is 512 parameters, their names with hash "),
        ("lora", None, "use_peft is False here and True in"),
        ("ppo", {}, "use_peft is True here and False in"),
    ],
)
def test_another_adapter(kind, changes, said, written, saved_model, tmp_path):
    kwargs = None if changes is None else lora(**changes)
    trainer = ppo(saved_model, tmp_path, trainer_kwargs=kwargs, **SETTINGS)
    message = refused(trainer, written[1] / kind / "checkpoint-3")
    assert said in message
    assert ("after scripts/merge_adapter.py" in message) == (kind != "ppo")


def test_other_data_are_warned_of(written, saved_model, tmp_path, caplog):
    """The prompts that were seen are skipped by their number, so the rest of other data would be the wrong rest."""
    folder = str(written[1] / "ppo" / "checkpoint-3")
    prompts = list(PROMPTS["prompt"])
    for changed in (prompts, prompts[:16], [*prompts[:-1], "new"]):
        caplog.clear()
        data = {"train_dataset": Dataset.from_dict({"prompt": changed, "answer": ["1"] * len(changed)})}
        trainer = ppo(saved_model, tmp_path, trainer_kwargs=data, **SETTINGS)
        with caplog.at_level(logging.WARNING):
            trainer.train(resume_from_checkpoint=folder)
        assert trainer.state.global_step == 4
        warned = f"train_dataset is {len(changed)} prompts with hash " in caplog.text
        assert warned == (changed != prompts)
        if warned:
            assert "here and 32 prompts with hash " in caplog.text


def test_a_checkpoint_of_weights_only_gives_its_best_model_but_is_not_resumed(saved_model, tmp_path):
    heldout = {"eval_dataset": Dataset.from_dict({"prompt": ["ab", "cde"]})}
    settings = SETTINGS | {"eval_strategy": "steps", "eval_steps": 3, "per_device_eval_batch_size": 2}
    settings |= {"load_best_model_at_end": True, "save_only_model": True}
    settings |= {"metric_for_best_model": "rewards/earlier/mean", "reward_weights": [1.0, 0.0]}

    def earlier(completions, trainer_state, **_):
        return [-float(trainer_state.global_step)] * len(completions)

    trainer = trained(ppo(saved_model, tmp_path, [EndoRM(), earlier], heldout, **settings))
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-3")
    best = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-3").state_dict()
    assert all((best[name] == p).all() for name, p in trainer.model.named_parameters())
    newest = newest_complete(tmp_path)
    assert newest == str(tmp_path / "checkpoint-4")
    assert not list(Path(newest).glob("rollout_*.pt"))
    # also as the newest in output_dir: to go on from an older one, or afresh, would throw away what was learned since
    for wanted in (newest, True):
        with pytest.raises(
            ValueError, match="checkpoint-4 was saved with save_only_model: it has no optimizer; start"
        ):
            ppo(saved_model, tmp_path, **SETTINGS).train(resume_from_checkpoint=wanted)


def test_a_checkpoint_of_trl(saved_model, tmp_path):
    settings = SETTINGS | {"beta": 0.0, "rewards": [length]}
    trained(grpo(saved_model, tmp_path / "trl", cls=GRPOTrainer, **settings))
    message = refused(grpo(saved_model, tmp_path, **SETTINGS), tmp_path / "trl" / "checkpoint-3")
    assert "was not written by this project's trainers" in message


def test_what_is_not_there_or_not_finished(written, checkpoint, saved_model, tmp_path):
    trainer = ppo(saved_model, tmp_path, **SETTINGS)
    assert "does not exist; give a folder" in refused(trainer, tmp_path / "none", FileNotFoundError)
    with pytest.raises(FileNotFoundError, match="has no complete checkpoint: leave resume_from_checkpoint out"):
        trainer.train(resume_from_checkpoint=True)
    folder = checkpoint("ppo")
    (folder / COMPLETE).unlink()
    assert "was never finished (no complete.json)" in refused(trainer, folder)
    # the newest one is half-written: transformers would take it, and what is complete is older
    shutil.copytree(written[1] / "ppo" / "checkpoint-3", tmp_path / "run" / "checkpoint-3")
    shutil.copytree(folder, tmp_path / "run" / "checkpoint-4")
    resumed = ppo(saved_model, tmp_path / "run", **SETTINGS)
    resumed.train(resume_from_checkpoint=True)
    for key in ("loss", "learning_rate"):
        assert history(resumed, key) == history(written[0]["ppo"], key)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    "name,spoil,said",
    [
        ("rollout_0.pt", cut, "is damaged: it has 100 bytes, and "),
        ("rollout_0.pt", lambda path: path.write_bytes(b"x" * path.stat().st_size), "is damaged: use an older"),
        ("rollout_0.pt", Path.unlink, "is missing. Use an older checkpoint, or start from its weights"),
        ("optimizer.pt", Path.unlink, "is missing. Use an older checkpoint, or start from its weights"),
        ("model.safetensors", cut, "is damaged: it has 100 bytes, and "),
        ("critic.safetensors", cut, "is damaged: it has 100 bytes, and "),
        ("rng_state.pth", Path.unlink, "is missing. Use an older checkpoint, or start from its weights"),
        (COMPLETE, cut, "is damaged (Unterminated string"),
    ],
)
def test_spoilt_files_are_named(name, spoil, said, checkpoint, saved_model, tmp_path):
    folder = checkpoint("ppo")
    spoil(folder / name)
    with pytest.raises(ValueError, match=re.escape(f"{folder / name} {said}")):
        ppo(saved_model, tmp_path, **SETTINGS).train(resume_from_checkpoint=str(folder))


def test_a_checkpoint_of_before_these_facts_were_kept(written, checkpoint, saved_model, tmp_path):
    folder = checkpoint("grpo")
    (folder / COMPLETE).write_text(json.dumps({"step": 3, "processes": 1}))
    resumed = grpo(saved_model, tmp_path, **SETTINGS)
    resumed.train(resume_from_checkpoint=str(folder))
    assert history(resumed, "loss") == pytest.approx(history(written[0]["grpo"], "loss"), abs=1e-6)
    (folder / COMPLETE).write_text(json.dumps({"step": 3, "processes": 2}))
    assert "processes is 1 here and 2 in the checkpoint" in refused(grpo(saved_model, tmp_path, **SETTINGS), folder)


@pytest.mark.parametrize("step", [8, 9, 11, 17])
def test_a_run_that_resumes_in_a_later_epoch_reads_the_prompts_in_the_same_order(step, late, tmp_path):
    """An epoch ends at 8, and at odd steps a rollout is half used."""
    make, whole = late
    resumed = make(tmp_path)
    resumed.train(resume_from_checkpoint=str(Path(whole.args.output_dir) / f"checkpoint-{step}"))
    for key in ("loss", "reward", "num_tokens"):
        assert history(resumed, key) == history(whole, key)
    weights = dict(whole.model.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in resumed.model.named_parameters())


@pytest.mark.parametrize("algorithm", [ppo, grpo])
def test_a_run_that_is_at_its_last_step_takes_no_other(written, saved_model, algorithm, tmp_path):
    """As after a kill between the last checkpoint and the end; the step lies within an epoch of transformers."""
    folder = written[1] / algorithm.__name__ / "checkpoint-3"
    trainer = algorithm(saved_model, tmp_path, **SETTINGS | {"max_steps": 3})
    before = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    trainer.train(resume_from_checkpoint=str(folder))
    assert trainer.state.global_step == 3
    after = trainer.model.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())
