"""Clusters of equal answers, and answers read in a way of one's own."""

import threading

import pytest

from rewards.answers import answer_reader, cluster_answers, equivalent, extract_answer


def test_text_and_chat_messages_have_the_same_answer():
    for text in (r"\boxed{1} so \boxed{x=2}", "the answer is 4.", "no number"):
        assert extract_answer(text) == extract_answer([{"role": "assistant", "content": text}])


def test_answers_in_plain_text_fall_into_one_cluster():
    texts = ["The answer is 2/3.", r"\boxed{\frac23}", "So the answer is 2/3", "The answer is 3/4.", "no"]
    assert cluster_answers([extract_answer(text) for text in texts]) == [0, 0, 0, 1, None]


def test_equivalence_does_not_depend_on_the_order():
    assert equivalent("1<x<2", "(1,2)")
    assert equivalent("(1,2)", "1<x<2")
    assert equivalent("?!", "?!")  # equal as text, though no formula
    assert not equivalent("?!", "1")


def test_equal_texts_are_not_compared_and_each_other_once_with_each_cluster():
    compared = []

    def same(a, b):
        compared.append((a, b))
        return equivalent(a, b)

    assert cluster_answers(["301", "302", "301", "301.0", "302", None, "301"], same) == [0, 1, 0, 0, 1, None, 0]
    assert compared == [("301", "302"), ("301", "301.0")]


def test_what_is_never_computed_is_a_cluster_by_its_text():
    assert cluster_answers(["9^{9^{9}}", "5", "9^{9^{9}}", "8^{9^{9}}"]) == [0, 1, 0, 2]


def test_it_works_in_any_thread():
    found = []
    worker = threading.Thread(target=lambda: found.append(equivalent("0.125", "12.5\\%")))
    worker.start()
    worker.join()
    assert found == [True]


@pytest.mark.parametrize(
    ("how", "text", "answer"),
    [(r"#(\d+)", "#1 #23", "23"), (r"\d+", "1 23", "23"), (r"\d+", "none", None), (len, "abc", 3)],
)
def test_answer_reader(how, text, answer):
    assert answer_reader(how)(text) == answer
