"""Tools, environments and rollout functions by their names in a recipe."""

import pytest
from launching import SMALL, launch, logged

from train.generation.turns import TurnArguments

CODE = '''
def add(a: int, b: int) -> str:
    """Add two numbers.

    Args:
        a: the first.
        b: the second.
    """
    return str(a + b)


class Room:
    def reset(self, **row):
        return None


def two_turns(prompts, trainer):
    """Each response is two turns of the policy's with two tokens of an environment between them."""
    tokenizer = trainer.processing_class
    ids = [tokenizer.apply_chat_template(p, add_generation_prompt=True, return_dict=False) for p in prompts]
    turns = [[5, 6, 7, 8, 9 + i % 3, tokenizer.eos_token_id] for i in range(len(prompts))]
    masks = [[1, 1, 0, 0, 1, 1] for _ in prompts]
    return {"prompt_ids": ids, "completion_ids": turns, "logprobs": None, "env_mask": masks}


number = 3
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "calls.py"
    path.write_text(CODE)
    return path


def test_names_become_what_trl_takes(file):
    given = TurnArguments([f"{file}:add", "math.gcd"], f"{file}:Room", f"{file}:two_turns").load()
    assert [tool.__name__ for tool in given["tools"]] == ["add", "gcd"]
    assert (given["environment_factory"].__name__, given["rollout_func"].__name__) == ("Room", "two_turns")
    assert TurnArguments().load() == {}


@pytest.mark.parametrize(
    "name,said",
    [
        ("add", "tools: 'add' names no module. Give dotted paths"),
        ("{file}:subtract", "tools: .*subtract"),
        ("no/such.py:add", "tools: there is no Python file"),
        ("{file}:number", "tools: .* is a int, which cannot be called"),
    ],
)
def test_what_cannot_be_found_or_called(name, said, file):
    with pytest.raises(ValueError, match=said):
        TurnArguments(tools=[name.format(file=file)]).load()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_a_rollout_function_of_a_recipe(algorithm, file, rehearsal, problems, tmp_path):
    fields = SMALL | {"bf16": False, "dtype": "float32", "frozen_dtype": "float32", "report_to": "none"}
    fields |= {"model_name_or_path": rehearsal, "dataset_name": problems, "rollout_func": f"{file}:two_turns"}
    if algorithm == "grpo":
        fields["num_generations"] = 4
    launch(f"{algorithm}_endorm", f"configs/math/{algorithm}_qwen2.5_math_7b.yaml", tmp_path / "run", **fields)
    (first, *_) = [row for row in logged(tmp_path / "run") if "completions/turns" in row]
    assert first["completions/turns"] == 2
    assert first["completions/mean_length"] == 4  # the environment's two tokens are not the policy's
