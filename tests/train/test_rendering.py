"""The policy's prompt is the same token ids to everybody who reads it, and those that TRL's trainers make of it.

The right value is `apply_chat_template`, called as `trl.GRPOTrainer` calls it.
"""

import json

import pytest
from chat_templates import FAMILIES, TURNS, as_trl_applies_it, bundled, chat
from datasets import Dataset
from helpers import grpo, history, ppo
from tiny_models import judge_model, tiny_tokenizer, word_tokenizer
from transformers import AutoModelForSequenceClassification, Qwen2Config
from trl import GRPOTrainer

from rewards import EndoRM, FrozenBase, GenerativeVerifier, ImplicitReward, LocalJudge, TrainedReward, get_reward
from rewards.frozen.messages import conversation_text, say_once
from train.evaluation.sampling import Decoding, sample
from train.evaluation.summary import EndoRMScorer
from train.prompts import DataArguments, load_prompts

QUESTION = [{"role": "user", "content": "Add 1 and 2."}]
SHORT = {"max_steps": 1, "max_completion_length": 3}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(autouse=True)
def _say_everything_anew():
    say_once.cache_clear()


def model_for(tokenizer, seed=0, **changes):
    return judge_model(seed=seed, vocab_size=len(tokenizer), **({"max_position_embeddings": 2048} | changes))


@pytest.fixture
def read(monkeypatch):
    """{id of a frozen base: the prompts that it read, in order}."""
    seen, real = {}, FrozenBase.score

    def spy(self, prompt_ids, *args, **kwargs):
        seen.setdefault(id(self), []).append([list(ids) for ids in prompt_ids])
        return real(self, prompt_ids, *args, **kwargs)

    monkeypatch.setattr(FrozenBase, "score", spy)
    return seen


class Drawer:
    """A sampler that says nothing and keeps what it was asked."""

    ends: set = set()

    def __init__(self, tokenizer):
        self.tokenizer, self.asked = tokenizer, []

    def __call__(self, prompts, seeds, how):
        self.asked += [list(ids) for ids in prompts]
        return [[7]] * len(prompts)


@pytest.mark.parametrize("name", FAMILIES)
def test_trainer_rewards_teacher_and_judge_read_the_same_ids(name, read, tmp_path):
    family = FAMILIES[name]
    tokenizer, prompts = family.tokenizer(), [chat(family), QUESTION]
    right = [as_trl_applies_it(tokenizer, prompt, **family.variables) for prompt in prompts]
    bases = [FrozenBase(model_for(tokenizer, seed)) for seed in range(5)]
    # of another family, by whose template the teacher reads prompts
    stranger = FAMILIES["llama-3" if name == "qwen2.5" else "qwen2.5"].tokenizer()
    teacher = FrozenBase(model_for(stranger))
    rewards = [
        EndoRM(),
        EndoRM(bases[0], tokenizer),
        ImplicitReward(bases[1], bases[2], tokenizer),
        get_reward("rlpr")(bases[3], tokenizer, answer=r"\Z", debias=False),
        get_reward("verifree")(bases[4], tokenizer, answer=r"\Z"),
        EndoRM(teacher, stranger),
        judge := GenerativeVerifier(form="prob"),
    ]
    data = Dataset.from_dict({"prompt": prompts * 4, "solution": ["4"] * 8})
    extra = {"train_dataset": data, "processing_class": tokenizer}
    settings = SHORT | {"chat_template_kwargs": family.variables or None, "shuffle_dataset": False}
    trainer = grpo(model_for(tokenizer, seed=9), tmp_path, rewards=rewards, trainer_kwargs=extra, **settings)
    assert GRPOTrainer._tokenize_prompts(trainer, prompts)[0] == right  # TRL's own
    trainer.train()
    assert len(history(trainer, "reward")) == 1
    assert trainer.rollout.prompt_ids == [ids for ids in right for _ in range(4)]
    for base in bases:
        (asked,) = read[id(base)]
        # RLPR and VeriFree put the response's reasoning after the prompt
        assert [ids[: len(p)] for ids, p in zip(asked, trainer.rollout.prompt_ids)] == trainer.rollout.prompt_ids
    assert [len(ids) for base in bases[:3] for ids in read[id(base)][0]] == [len(p) for p in right for _ in "1234"] * 3
    by_teacher = [as_trl_applies_it(stranger, prompt, **family.variables) for prompt in prompts]
    assert read[id(teacher)] == [[ids for ids in by_teacher for _ in range(4)]]
    shared, questions = read[id(trainer.frozen_base)]
    assert shared == trainer.rollout.prompt_ids
    text = judge.template.fill(prompt=conversation_text(QUESTION), response="@@@")
    question = [{"role": "user", "content": text}]
    asked = as_trl_applies_it(tokenizer, question, **(family.variables | {"enable_thinking": False}))
    begins, ends = tokenizer.decode(asked).split("@@@")
    said = tokenizer.decode(questions[4])
    assert said.startswith(begins)
    assert said.endswith(ends)


@pytest.mark.parametrize("name", FAMILIES)
def test_filter_rewards_and_evaluation_read_the_same_ids(name, read, tmp_path):
    family = FAMILIES[name]
    tokenizer, prompts = family.tokenizer(), [chat(family), QUESTION]
    right = [as_trl_applies_it(tokenizer, prompt, **family.variables) for prompt in prompts]
    for prompt, ids in zip(prompts, right):
        path = tmp_path / "rows.jsonl"
        path.write_text(json.dumps({"prompt": prompt}) + "\n")
        data = DataArguments(dataset_name=str(path), max_prompt_length=len(ids))
        assert load_prompts(data, tokenizer, family.variables)[1]["longest_prompt"] == len(ids)
        shorter = DataArguments(dataset_name=str(path), max_prompt_length=len(ids) - 1)
        with pytest.raises(ValueError, match="no usable row"):
            load_prompts(shorter, tokenizer, family.variables)
    bases = [FrozenBase(model_for(tokenizer, seed)) for seed in range(3)]
    settings = {"chat_template_kwargs": family.variables}
    EndoRM(bases[0], tokenizer, **settings).score(prompts, ["a", "b"])
    ImplicitReward(bases[1], bases[2], tokenizer, **settings).score(prompts, ["a", "b"])
    assert [read[id(base)][0] for base in bases] == [right] * 3
    model_for(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    draw = Drawer(tokenizer)
    paths = tmp_path / "s.jsonl", str(tmp_path / "model")
    rows = sample(*paths, ["a", "b"], prompts, Decoding(max_tokens=1), lambda: draw, progress=False, **settings)
    assert sorted(draw.asked) == sorted(right)
    noted = json.loads((tmp_path / "s.settings.json").read_text())
    assert noted.get("chat_template_kwargs", {}) == family.variables
    scorer = EndoRMScorer(paths[1], paths[1], str(tmp_path / "cache"), device="cpu", **settings)
    read.clear()
    scorer(dict(zip("ab", prompts)), rows)
    assert sorted(ids for calls in read.values() for call in calls for ids in call) == sorted(right)


@pytest.mark.parametrize("name", ["qwen3 without thinking", "llama-3", "mistral"])
def test_a_criterion_takes_the_system_messages_place_and_nothing_else(name, tmp_path):
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    steered = EndoRM(FrozenBase(model_for(tokenizer)), tokenizer, system_prompt="Be kind.")
    rendering = {"chat_template_kwargs": family.variables}
    if not family.system:
        with pytest.raises(ValueError, match=r"refuses a prompt of system, user.*give none .system_prompt: null"):
            steered.prompt_ids(QUESTION, rendering)
        return
    explicit = [{"role": "system", "content": "Be kind."}, *TURNS]
    assert steered.prompt_ids(chat(family), rendering) == as_trl_applies_it(tokenizer, explicit, **family.variables)


def test_a_criterion_and_variables_of_its_own_go_over_what_the_run_says(read, tmp_path):
    """Each makes a forward of its own."""
    family = FAMILIES["qwen3 without thinking"]
    tokenizer, prompts = family.tokenizer(), [QUESTION] * 8
    extra = {"train_dataset": Dataset.from_dict({"prompt": prompts}), "processing_class": tokenizer}
    rewards = [EndoRM(), EndoRM(system_prompt="Be kind."), EndoRM(chat_template_kwargs={"enable_thinking": True})]
    trainer = ppo(model_for(tokenizer), tmp_path, rewards, extra, chat_template_kwargs=family.variables, **SHORT)
    trainer.train()
    shared, steered, thinking = read[id(trainer.frozen_base)]
    assert shared == [as_trl_applies_it(tokenizer, QUESTION, enable_thinking=False)] * 8
    explicit = [{"role": "system", "content": "Be kind."}, *QUESTION]
    assert steered == [as_trl_applies_it(tokenizer, explicit, enable_thinking=False)] * 8
    assert thinking == [as_trl_applies_it(tokenizer, QUESTION)] * 8  # its own over the run's


def odd_prompts():
    """Prompts as files hold them, with what a chat template should be given in their place."""
    parts = [{"type": "text", "text": "Add 1"}, {"type": "text", "text": " and 2."}]
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    asked = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "3"}]
    begun = [*QUESTION, {"role": "assistant", "content": "It is"}]
    return {
        "parts": ([{"role": "user", "content": parts}], {}, QUESTION, {}),
        "a call without content": (asked, {}, [asked[0], {k: v for k, v in asked[1].items() if v}, asked[2]], {}),
        "tools as JSON": (QUESTION, {"tools": json.dumps([TOOL])}, QUESTION, {"tools": [TOOL]}),
        "tools": (QUESTION, {"tools": [TOOL]}, QUESTION, {"tools": [TOOL]}),
        "variables": (
            QUESTION,
            {"chat_template_kwargs": {"enable_thinking": False}},
            QUESTION,
            {"enable_thinking": False},
        ),
        "the assistant's words": (begun, {}, begun, {"add_generation_prompt": False, "continue_final_message": True}),
    }


@pytest.mark.parametrize("kind", odd_prompts())
@pytest.mark.parametrize("name", ["qwen2.5", "qwen3"])
def test_odd_prompts_are_read_alike_by_trainer_filter_and_rewards(name, kind, read, tmp_path):
    prompt, columns, clean, settings = odd_prompts()[kind]
    tokenizer = FAMILIES[name].tokenizer()
    right = as_trl_applies_it(tokenizer, clean, **settings)
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps({"prompt": prompt} | columns) + "\n") * 8)
    data, counts = load_prompts(DataArguments(dataset_name=str(path)), tokenizer)
    assert counts["longest_prompt"] == len(right)
    teacher = EndoRM(FrozenBase(model_for(tokenizer)), tokenizer)
    extra = {"train_dataset": data, "processing_class": tokenizer}
    trainer = grpo(model_for(tokenizer, seed=3), tmp_path, rewards=[teacher], trainer_kwargs=extra, **SHORT)
    trainer.train()
    assert trainer.rollout.prompt_ids == [right] * 8
    assert read[id(teacher.base)] == [[right] * 8]


def test_every_row_has_variables_and_tools_of_its_own(tmp_path):
    """Beside what the run says, which stands where a row says nothing."""
    tokenizer = FAMILIES["qwen3"].tokenizer()
    rows = [
        {"prompt": QUESTION, "tools": None, "chat_template_kwargs": None},
        {"prompt": QUESTION, "tools": [TOOL], "chat_template_kwargs": {"enable_thinking": True}},
    ]
    extra = {"train_dataset": Dataset.from_list(rows * 4), "processing_class": tokenizer}
    settings = SHORT | {"chat_template_kwargs": {"enable_thinking": False}, "shuffle_dataset": False}
    trainer = grpo(model_for(tokenizer), tmp_path, trainer_kwargs=extra, **settings)
    seen = {}
    trainer.reward_funcs[0].func.per_token = lambda rendering, completion_ids, **_: (
        seen.update(rendering=rendering) or [0.0] * len(completion_ids)
    )
    trainer.reward_funcs[0]._call = trainer.reward_funcs[0].func.per_token
    trainer.train()
    plain = as_trl_applies_it(tokenizer, QUESTION, enable_thinking=False)
    rich = as_trl_applies_it(tokenizer, QUESTION, tools=[TOOL], enable_thinking=True)
    assert trainer.rollout.prompt_ids == [plain] * 4 + [rich] * 4
    assert seen["rendering"][0] == {"chat_template_kwargs": {"enable_thinking": False}}
    assert seen["rendering"][4] == {"tools": [TOOL], "chat_template_kwargs": {"enable_thinking": True}}


@pytest.mark.parametrize("name", ["llama-3", "gemma-2", "mistral"])
def test_a_text_never_begins_with_two_bos(name, read, tmp_path, caplog):
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    rendered = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    right = as_trl_applies_it(tokenizer, QUESTION)
    assert tokenizer(rendered)["input_ids"] == [right[0], *right]
    teacher = EndoRM(FrozenBase(model_for(tokenizer)), tokenizer)
    data = Dataset.from_dict({"prompt": [rendered] * 8})
    extra = {"train_dataset": data, "processing_class": tokenizer}
    trainer = grpo(model_for(tokenizer, seed=3), tmp_path, rewards=[teacher], trainer_kwargs=extra, **SHORT)
    trainer.train()
    assert trainer.rollout.prompt_ids == [right] * 8
    assert read[id(teacher.base)] == [[right] * 8]
    (said,) = [message for message in caplog.messages if "begin with" in message]
    assert f"begin with {family.bos}" in said
    assert "one is kept" in said


def test_tools_that_run_beside_a_column_of_tools(tmp_path):
    def add(a: int) -> int:
        """Adds.

        Args:
            a: a number
        """
        return a

    tokenizer = word_tokenizer(bundled("qwen3"))
    tokenizer.eos_token = "<|im_end|>"
    rows = Dataset.from_list([{"prompt": QUESTION, "tools": [TOOL]}] * 8)
    extra = {"train_dataset": rows, "processing_class": tokenizer, "tools": [add]}
    model = judge_model(eos_token_id=tokenizer.eos_token_id, max_position_embeddings=2048)
    trainer = grpo(model, tmp_path, trainer_kwargs=extra, **SHORT)
    with pytest.raises(ValueError, match="trainer has tools that it runs, and the dataset has a column tools"):
        trainer.train()


def test_a_trained_reward_reads_the_conversation_as_its_template_writes_it():
    tokenizer = FAMILIES["qwen3"].tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_labels=1,
        pad_token_id=0,
    )
    reward = TrainedReward(AutoModelForSequenceClassification.from_config(config), tokenizer)
    whole = [*QUESTION, {"role": "assistant", "content": "It is 3."}]
    right = tokenizer.apply_chat_template(whole, tools=[TOOL], tokenize=True)["input_ids"]
    assert reward._encode(QUESTION, "It is 3.", {"tools": [TOOL]}) == right
    begun = [*QUESTION, {"role": "assistant", "content": "It is"}]
    assert reward._encode(begun, " 3.", {"tools": [TOOL]}) == right  # one message, not two
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
    assert reward._encode(parts, whole[-1:], {"tools": [TOOL]}) == right


def test_a_judge_thinks_only_if_it_is_told_itself():
    tokenizer = FAMILIES["qwen3"].tokenizer()
    template = GenerativeVerifier(None).template
    asked = {"prompt": QUESTION, "response": "3"}
    question = template.fill_for(str, **asked)
    silent, thinking = (as_trl_applies_it(tokenizer, question, enable_thinking=t) for t in (False, True))
    judge = LocalJudge(model_for(tokenizer), tokenizer)
    judge.lend_variables({"enable_thinking": True})  # the policy's
    assert judge.encode(template, **asked) == silent
    judge = LocalJudge(model_for(tokenizer), tokenizer, chat_template_kwargs={"enable_thinking": True})
    judge.lend_variables({"enable_thinking": False})
    assert judge.encode(template, **asked) == thinking


def test_a_judge_of_two_trainings_takes_the_variables_of_the_later():
    tokenizer = word_tokenizer("{{ date }}{{ messages[0].content }}")
    template, judge = GenerativeVerifier(None).template, LocalJudge(judge_model(), tokenizer)
    texts = []
    for variables in ({"date": "Monday"}, {"date": "Friday"}, {}):
        judge.lend_variables(variables)
        texts.append(tokenizer.decode(judge.encode(template, prompt="p", response="r"))[:6])
    assert texts == ["Monday", "Friday", "You ar"]


def test_a_judge_is_shown_the_tools_that_the_policy_was_offered(read):
    tokenizer = FAMILIES["qwen3"].tokenizer()
    base = FrozenBase(model_for(tokenizer))
    verifier = GenerativeVerifier(base, tokenizer)
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    completion = [{"role": "assistant", "content": "Let me see.", "tool_calls": [call]}]
    verifier(prompts=[QUESTION], completions=[completion], rendering=[{"tools": [TOOL]}])
    text = tokenizer.decode(read[id(base)][0][0])
    assert f"Tools: {json.dumps(TOOL)}\n\nUser: Add 1 and 2." in text
    assert 'Let me see.\nTool call: {"name": "add", "arguments": {"a": 1}}' in text
    assert text.startswith("<|im_start|>user\n")  # they are no tools of the judge's own


def test_variables_that_no_template_reads_are_named_once(caplog):
    rm = EndoRM(None, tiny_tokenizer(), chat_template_kwargs={"enable_thinking": False})
    for _ in range(2):
        rm.prompt_ids(QUESTION)
    assert [m for m in caplog.messages if "reads no enable_thinking" in m] == caplog.messages
    assert len(caplog.messages) == 1
