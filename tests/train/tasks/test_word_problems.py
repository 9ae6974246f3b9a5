"""One-step word problems: stories, numbers and splits, and the strict reading of a response's number."""

import json
import re

import pytest
from tiny_models import tiny_tokenizer

from train.prompts import DataArguments, load_heldout, load_prompts
from train.tasks.word_problems import (
    NAMES,
    STORIES,
    answer_of,
    draw_problems,
    pairs_of,
    solve,
    split_stories,
    word_problem_accuracy,
    write_splits,
)


@pytest.mark.parametrize(
    "response",
    [
        "12",
        "12.",
        "12!",
        "12 apples",
        "12cm remain",
        "12.0",
        "$12",
        "It costs $12.00.",
        "The answer is 12.",
        "Answer: 12",
        "The answer is **12**.",
        r"The answer is \boxed{12}",
        r"$\boxed{12}$",
        "#### 12",
        "5 + 7 = 12",
        "She has 5 + 7 = 12 apples left.",
        "6 x 2 = 12 pencils",
        "5+7=12\n#### 12\nThe answer is: 12",
        "So there are 6 boxes and 12 pencils.",
        "Tom had 5, then got 7, so he has 12",
        "not 5, but 12",
        "The answer is 12. There are 3 boxes left.",
    ],
)
def test_a_result_is_read(response):
    assert answer_of(response) == "12"


@pytest.mark.parametrize(
    "response",
    [
        "",
        "twelve",
        *[
            "12 or 13",
            "13 or 12",
            "12 apples or 13 apples",
            "13 apples or 12 apples",
            "maybe 12 or so",
            "#### 12 or 13",
        ],
        *["12, 13", "13, 12", "12 and 13", "13 and 12", "12, 14 and 15", "12\n13"],
        *["10-12", "10 to 12", "between 10 and 12"],
        *["12%", "12th", "1/12", "12/3", "12.5", "1,212", "1,12", "0.12", "120", "112", "-12", "\N{MINUS SIGN}12"],
        *["12a", "x12", "v1.12"],
        *["5 + 12", "5 * 12", "5 x 12", "17 apples - 12", "12 = 15"],
        *["not 12", "It is not 12.", "It isn't 12", "It isn’t 12", "I don't think it is 12", "12 is wrong"],
        *["12 is not the answer", "12. No, that is wrong", "The answer is 12. Actually I do not know."],
        *["12?", "Is it 12?"],
        "The answer is 12. The answer is 13.",
        "She has 12 apples. There are 3 boxes left.",
    ],
)
def test_what_gives_no_result_or_several_is_not_right(response):
    assert answer_of(response) != "12"


@pytest.mark.parametrize(
    "text, digits", [("1,200 km", "1200"), ("-3", "-3"), ("0.50", "0.5"), ("007", "7"), ("1200", "1200")]
)
def test_equal_numbers_have_equal_digits(text, digits):
    assert answer_of(text) == digits


@pytest.mark.parametrize("unit", ["1,", "1 or ", "not 1 ", "1", "1.\n", "answer 1 ", "1+", "no. "])
def test_long_text_is_read_in_linear_time(unit):
    """A quadratic search would take minutes for these."""
    answer_of(unit * 30_000 + "x")


def test_reward_compares_with_the_rows_answer():
    completions = ["It is 12.", [{"role": "assistant", "content": "12"}], "13"]
    assert word_problem_accuracy(completions=completions, answer=["12", "12", "12"], prompts=[""] * 3) == [
        1.0,
        1.0,
        0.0,
    ]
    with pytest.raises(ValueError, match="zip"):
        word_problem_accuracy(completions=["12"], answer=["12", "12"])


@pytest.mark.parametrize("operation", STORIES)
def test_answers_are_right_whole_and_no_number_of_the_story(operation):
    python = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__truediv__}[operation]
    for a, b in pairs_of(operation):
        assert solve(operation, a, b) == python(a, b)
        assert solve(operation, a, b) not in (a, b)
        assert solve(operation, a, b) > 0


@pytest.mark.parametrize("story", [story for stories in STORIES.values() for story in stories])
def test_a_story_holds_its_two_numbers_and_no_other(story):
    text = story.format(a=71, b=83, name="Anna")
    assert sorted(re.findall(r"\d+", text)) == ["71", "83"]
    assert text.endswith("?")
    assert len(set(NAMES)) == len(NAMES)


def told_and_pairs(problems):
    stories, pairs = set(), set()
    for problem in problems:
        numbers = re.findall(r"\d+", problem["question"])
        pairs.add(tuple(sorted(map(int, numbers))))
        stories.add(re.sub("|".join(NAMES), "N", re.sub(r"\d+", "#", problem["question"])))
    return stories, pairs


@pytest.mark.parametrize("operations", ["+*", "+-*/"])
@pytest.mark.parametrize("seed", range(4))
def test_held_out_problems_tell_other_stories_with_other_numbers(operations, seed):
    train, heldout = draw_problems(seed=seed, operations=operations)
    assert (len(train), len(heldout)) == (600, 160)
    for old, new in zip(told_and_pairs(train), told_and_pairs(heldout)):
        assert old
        assert new
        assert not old & new
    questions = [problem["question"] for problem in train + heldout]
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("operations", ["+*", "-", "+-*/"])
def test_each_operation_has_its_share_on_both_sides(operations):
    for problems, side in zip(draw_problems(120, 60, operations=operations), (0, 1)):
        shares = {}
        for operation, parts in split_stories().items():
            told = [re.sub(r"\{\w+\}", ".+", story).rstrip("?") + r"\?" for story in parts[side]]
            found = sum(any(re.fullmatch(story, problem["question"]) for story in told) for problem in problems)
            shares |= {operation: found} if found else {}
        assert shares == dict.fromkeys(operations, len(problems) // len(operations))


def test_impossible_problems_are_refused():
    with pytest.raises(ValueError, match="take fewer"):
        draw_problems(20_000, 10)
    for operations in ("", "^", "++"):
        with pytest.raises(ValueError, match="name one or several of"):
            draw_problems(operations=operations)


def test_files_are_fixed_by_the_seed_and_read_as_training_reads_them(tmp_path):
    paths = {name: write_splits(tmp_path / name, 80, 20, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))}
    texts = {name: [path.read_text() for path in both] for name, both in paths.items()}
    assert texts["a"] == texts["b"]
    assert texts["a"][0] != texts["c"][0]
    args = DataArguments(dataset_name=str(paths["a"][0]), heldout_name=str(paths["a"][1]))
    rows, counts = load_prompts(args, tiny_tokenizer())
    assert (counts["kept"], len(load_heldout(args, tiny_tokenizer()))) == (80, 20)
    assert set(rows.column_names) == {"prompt", "answer", "solution"}
    assert rows[0]["prompt"] == [
        {"role": "user", "content": json.loads(texts["a"][0].splitlines()[0])["prompt"][0]["content"]}
    ]
    write_splits(tmp_path / "d", 8, 4, system_prompt="Answer with a number.")
    first = json.loads((tmp_path / "d" / "train.jsonl").read_text().splitlines()[0])
    assert [message["role"] for message in first["prompt"]] == ["system", "user"]
