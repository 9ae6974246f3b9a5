"""Accuracy on the tasks of a chat model: from responses made by hand, and from a model."""

import numpy as np
import pytest

from train.evaluation.sampling import TransformersSampler
from train.tasks import chat_evaluation
from train.tasks.chat_evaluation import MAJORITY, accuracy, evaluate_chat, first_sentence, majority_is_right, summarise
from train.tasks.chat_tasks import TASKS

TASK = TASKS["capitals"]
ROWS = [
    {"prompt": [{"role": "user", "content": f"What is the capital of {country}?"}], "answer": capital}
    for country, capital in (("Peru", "Lima"), ("Chile", "Santiago"), ("Japan", "Tokyo"))
]


def response(text, tokens, finished=True):
    return {"text": text, "token_ids": list(range(tokens)), "finished": finished}


RESPONSES = [
    [response("Lima.", 3), response("Cusco.", 4)],
    [response("Santiago. Its capital is Lima.", 9, False), response("It is a country", 4, False)],
    [response("The capital of Japan is Tokyo.", 8), response("Tokyo.", 2)],
]


def test_accuracy_is_the_mean_over_questions_and_the_rest_over_responses():
    found = summarise(TASK, ROWS, RESPONSES)
    assert found["per_question"] == [0.5, 0, 1]
    assert found["accuracy"] == 0.5
    assert found["n"] == 3
    assert found["mean_tokens"] == (3 + 4 + 9 + 4 + 8 + 2) / 6
    assert found["ended"] == pytest.approx(4 / 6)
    assert found["first_sentence"] == pytest.approx((1 + 1 + 2) / 6)  # Santiago, before it is taken back
    assert found["right_of_ended"] == 3 / 4
    assert summarise(TASK, ROWS[1:2], RESPONSES[1:2])["right_of_ended"] is None


def test_the_interval_is_of_questions_and_not_of_responses():
    shares = np.linspace(0, 1, 50)
    low, high = accuracy(shares)["ci95"]
    half = 1.96 * shares.std() / 50**0.5
    assert (low, high) == (pytest.approx(0.5 - half, abs=0.01), pytest.approx(0.5 + half, abs=0.01))
    assert accuracy([0.25])["ci95"] == [0.25, 0.25]


def test_the_majority_of_responses_is_one_answer():
    assert majority_is_right(TASK, ROWS[0], [response(t, 1) for t in ("Lima.", "Cusco.", "Lima.", "no idea")])
    assert not majority_is_right(TASK, ROWS[0], [response(t, 1) for t in ("Cusco.", "Lima.")])
    assert not majority_is_right(TASK, ROWS[0], [response("no idea", 1)])


@pytest.mark.parametrize(
    "text, first",
    [
        ("Lima. It is big.", "Lima."),
        ("Is it Lima? Yes.", "Is it Lima?"),
        ("12.5 metres. That is all", "12.5 metres."),
        ("Lima\nIt is big", "Lima"),
        ("Lima", "Lima"),
        ("", ""),
    ],
)
def test_the_first_sentence_ends_where_another_begins(text, first):
    assert first_sentence(text) == first


def test_a_second_call_draws_nothing_and_says_the_same(rehearsal, tmp_path, monkeypatch):
    found = evaluate_chat("base", rehearsal, TASK, ROWS, tmp_path)
    assert [(row["decoding"], row["temperature"], row["samples"]) for row in found] == [
        ("sampled", 1.0, 8),
        (MAJORITY, 1.0, 8),
        ("greedy", 0.0, 1),
        ("low_temperature", 0.3, 4),
    ]
    assert all(row["accuracy"] == 0 and row["n"] == 3 for row in found)  # of random text
    monkeypatch.setattr(chat_evaluation, "TransformersSampler", lambda *model: pytest.fail("the model was loaded"))
    assert evaluate_chat("base", rehearsal, TASK, ROWS, tmp_path) == found


def test_the_model_is_loaded_once_for_all_decodings(rehearsal, tmp_path, monkeypatch):
    loads = []
    monkeypatch.setattr(
        chat_evaluation, "TransformersSampler", lambda *model: loads.append(model) or TransformersSampler(*model)
    )
    evaluate_chat("base", rehearsal, TASK, ROWS, tmp_path, dtype="bfloat16")
    assert loads == [(rehearsal, "bfloat16")]
