"""The tasks by name: what is right, what agrees, and the rewards that need the task's own reader."""

import re

import pytest

from rewards import get_reward
from train.tasks.chat_tasks import TASKS, majority_answer, question_of, read_rows, vote

PERU = [{"role": "user", "content": "What is the capital of Peru?"}]
SUM = [{"role": "user", "content": "A class has 12 boys and 9 girls. How many students are in the class?"}]


def said(*texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


@pytest.mark.parametrize("name", TASKS)
def test_its_files_are_read_back_and_every_answer_is_right(name, tmp_path):
    task = TASKS[name]
    for path in task.write_splits(tmp_path):
        rows = read_rows(path)
        assert len(rows) > 60
        assert all(task.is_correct(row, f"{row['answer']}.") for row in rows)
        assert not any(
            task.is_correct(row, other["answer"])
            for row, other in zip(rows, rows[1:])
            if row != other and row["answer"] != other["answer"]
        )
        assert read_rows(path, 3) == rows[:3]


def test_the_majority_is_of_what_is_claimed_not_of_what_is_written():
    answers = said("Lima.", "The capital of Peru is Lima.", "The capital is Cusco.", "I do not know.")
    assert get_reward(TASKS["capitals"].majority)(prompts=[PERU] * 4, completions=answers) == [1, 1, 0, 0]
    answers = said("12 + 9 = 21", "There are 22 students.", "The answer is 21.", "none")
    assert get_reward(TASKS["word_problems"].majority)(prompts=[SUM] * 4, completions=answers) == [1, 0, 1, 0]


def test_a_wrong_majority_wins_and_anagrams_are_two_answers():
    answers = said("Mali.", "Lima.", "Mali.")
    assert get_reward(TASKS["capitals"].majority)(prompts=[PERU] * 3, completions=answers) == [1, 0, 1]


def test_each_question_votes_by_itself():
    chile = [{"role": "user", "content": "What is the capital of Chile?"}]
    reward = get_reward(TASKS["capitals"].majority)
    assert reward(prompts=[PERU, chile, PERU], completions=said("Lima.", "Cusco.", "Lima.")) == [1, 1, 1]


def test_who_says_nothing_neither_votes_nor_wins():
    assert vote([None, None, "a"]) == [0, 0, 1]
    assert vote([None, None]) == [0, 0]
    assert majority_answer([None]) is None
    assert majority_answer(["b", "a", "a", "b"]) == "b"  # the first of equally frequent ones


@pytest.mark.parametrize(
    "text, fits",
    [("The capital of Peru is Cusco.", True), ("Lima", False), ("Lima. It is big.", False), ("Is it Lima?", False)],
)
def test_the_format_asks_for_one_sentence_and_not_for_a_right_one(text, fits):
    assert bool(re.search(TASKS["capitals"].format, text)) == fits


def test_a_question_is_a_text_or_the_last_message():
    assert question_of("Why?") == "Why?"
    assert question_of([{"role": "system", "content": "Be brief."}, *PERU]) == "What is the capital of Peru?"
