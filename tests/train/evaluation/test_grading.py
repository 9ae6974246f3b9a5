"""Grading: real gold answers accepted, others' refused, and nothing that hangs or dies is called wrong."""

import os
import signal

import pytest
from limits import LIMIT
from tiny_models import SHARED

from rewards.verifiable import Accuracy
from scripts import load_script
from train.evaluation.grading import NO_GOLD, Grade, Graders
from train.evaluation.problems import PAPER, load_benchmark

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="needs the benchmarks' own files, shared/data beside the repository"
)
SHORT = 1.0  # second, for what would never end

pytestmark = pytest.mark.slow  # graders are processes


@pytest.fixture(scope="module")
def graders():
    with Graders(1, LIMIT) as pool:
        yield pool


@pytest.fixture
def impatient(graders, monkeypatch):
    """The same processes, with a second for each answer."""
    monkeypatch.setattr(graders, "seconds", SHORT)
    return graders


def verdicts(graders, responses, golds, **options):
    return [g.verdict for g in graders.grade(responses, golds, **options)]


@pytest.mark.parametrize(
    ("response", "golds", "verdict"),
    [
        (r"first \boxed{3}, then $\boxed{\frac{1}{2}}$", ["0.5"], "right"),
        (r"\boxed{3} no, \boxed{4}", ["3"], "wrong"),
        (r"\boxed{4}", ["3", "4"], "right"),
        (r"\boxed{1,234}", ["1234"], "right"),
        (r"\boxed{x=5}", ["5"], "right"),
        (r"\boxed{(1,2)}", ["(2,1)"], "wrong"),
        (r"\boxed{}", ["5"], "wrong"),
        (r"\boxed{5", ["5"], "wrong"),
        ("The answer is $5$.", ["5"], "right"),
        ("no number at all", ["5"], "wrong"),
        ("The answer is $5$. " + "word " * 5000, ["5"], "right"),
        # decimals that math-verify alone would round to zero
        (r"\boxed{0.0000002}", ["1e-7"], "wrong"),
        (r"\boxed{0.0}", ["2.5e-10"], "wrong"),
        (r"\boxed{2.5 \times 10^{-10}}", ["2.5e-10"], "right"),
        (r"\boxed{8.7 \cdot 10^8}", ["8.7e8"], "right"),
        (r"\boxed{\arcsin(10/13)}", ["np.arcsin(10/13)"], "right"),
        (r"\boxed{-\frac{3}{2}}", ["-3./2"], "right"),
    ],
)
def test_verdicts(graders, response, golds, verdict):
    assert verdicts(graders, [response], [golds]) == [verdict]


def test_boxed_only_takes_no_answer_from_elsewhere(graders):
    responses, golds = ["It is $5$.", r"\boxed{5}"], [["5"], ["5"]]
    assert verdicts(graders, responses, golds, boxed_only=True) == ["wrong", "right"]


@needs_data
def test_gold_answers_are_accepted_and_others_are_not(graders):
    """A sample; all of it: python scripts/check_grading.py."""
    for name in PAPER:
        _, problems, _ = load_benchmark(name, DATA, limit=25)
        golds = [p.golds for p in problems]
        assert verdicts(graders, [rf"so $\boxed{{{g[0]}}}$." for g in golds], golds) == ["right"] * len(golds), name
        differ = [(a[0], g) for a, g in zip(golds[7:], golds[:8]) if a[0] not in g]
        assert len(differ) > 5
        wrong = verdicts(graders, [rf"\boxed{{{a}}}" for a, _ in differ], [g for _, g in differ])
        assert wrong == ["wrong"] * len(differ), name


@needs_data
def test_gold_solutions_are_accepted(graders):
    _, problems, _ = load_benchmark("math500", DATA, limit=40)
    _, solutions, _ = load_benchmark(f"solutions={DATA / 'math500.jsonl'}", limit=40, answer_column="solution")
    assert [p.golds for p in solutions] == [p.golds for p in problems]  # the last box, as the data's own answer


def test_what_hangs_is_reported_and_the_worker_replaced(graders, monkeypatch):
    assert verdicts(graders, [r"\boxed{5}"], [["5"]]) == ["right"]
    before = graders.replaced
    worker = graders._free.get()
    graders._free.put(worker)
    os.kill(worker.process.pid, signal.SIGSTOP)  # it would never answer
    with monkeypatch.context() as patch:
        patch.setattr(graders, "seconds", SHORT)
        (hung,) = graders.grade([r"\boxed{6}"], [["5"]])
    assert hung == Grade("ungraded", "6", "not done after 1 s")
    assert graders.replaced == before + 1
    assert verdicts(graders, [r"\boxed{5}"], [["5"]]) == ["right"]


def test_what_is_too_large_is_no_work_for_a_clock(impatient):
    before = impatient.replaced
    golds = [["5"], ["9^{9^{9^{9}}}"]]
    assert verdicts(impatient, [r"\boxed{9^{9^{9^{9}}}}"] * 2, golds) == ["wrong", "right"]
    assert impatient.replaced == before


def test_without_a_gold_answer_nothing_is_graded(graders):
    assert graders.grade([r"\boxed{5}"], [[""]]) == [Grade("ungraded", "5", NO_GOLD)]


SOLUTIONS = [
    (r"So $x^2=4$ and $x=\boxed{2}$.", "2"),
    (r"Hence \[\boxed{\frac{1}{2}}.\]", r"\frac12"),
    ("The answer is 3/4, as claimed.", "3/4"),
    (r"We get $\boxed{(-\infty,3)}$.", "x<3"),
    (r"$\boxed{\text{Evelyn}}$ was first.", "Evelyn"),
    (r"Thus $\boxed{2516_8}$", "2516_8"),
    (r"$\boxed{1}$ and $\boxed{2}$", "1,2"),
]


def test_the_reward_and_evaluation_agree(graders):
    """On solutions that were cut, changed and boxed anew; 10,000 real ones: python scripts/check_grading.py."""
    texts, golds = zip(*SOLUTIONS, strict=True)
    pairs = list(load_script("check_grading").corrupted(list(texts), list(golds), 400))
    completions, references = [text for text, _ in pairs], [[gold] for _, gold in pairs]
    names = {1.0: "right", 0.0: "wrong", None: "ungraded"}
    rewards = [names[r] for r in Accuracy("answer")(completions=completions, answer=references)]
    assert rewards == verdicts(graders, completions, references)
    assert 50 < rewards.count("right") < 350


@pytest.mark.parametrize("gone", [False, True], ids=["while it is asked", "before it is asked"])
def test_a_worker_that_dies_is_replaced_and_says_so(gone, graders, capfd):
    assert verdicts(graders, [r"\boxed{5}"], [["5"]]) == ["right"]  # it has started
    worker = graders._free.get()
    graders._free.put(worker)
    worker.process.kill()
    if gone:
        worker.process.wait()  # what is written to it then is never flushed
    (grade,) = graders.grade([r"\boxed{5}"], [["5"]])
    assert grade == Grade("ungraded", "5", "the worker ended with exit code -9")
    assert verdicts(graders, [r"\boxed{5}"], [["5"]]) == ["right"]
    assert graders.ask("an error", None) == (None, "the worker ended with exit code 1")
    assert "KeyError: 'an error'" in capfd.readouterr().err
    assert verdicts(graders, [r"\boxed{5}"], [["5"]]) == ["right"]


def test_clusters(graders):
    groups = [["1/2", "0.5", None, "3"], ["a", "b", "a"]]
    assert graders.cluster(groups) == [([0, 0, None, 1], 0), ([0, 1, 0], 0)]


def test_what_is_never_computed_is_a_cluster_of_its_own(impatient):
    assert impatient.cluster([["9^{9^{9^{9}}}", "3"]]) == [([0, 1], 0)]


def test_the_same_answer_to_the_same_problem_is_graded_once(graders, monkeypatch):
    asked = []
    real = graders.ask
    monkeypatch.setattr(graders, "ask", lambda *args, **kw: asked.append(args) or real(*args, **kw))
    responses = [r"a \boxed{5}", r"b \boxed{5}", r"\boxed{5}", r"\boxed{}"]
    assert verdicts(graders, responses, [["5"], ["5"], ["6"], ["5"]]) == ["right", "right", "wrong", "wrong"]
    assert len(asked) == 2


def test_hostile_strings_of_all_kinds(graders, monkeypatch):
    # a thousand of more kinds: python scripts/check_grading.py
    texts = [
        "",
        "\x00",
        r"\boxed{" + "{" * 200 + "5" + "}" * 200 + "}",
        r"\boxed{" * 2000,
        "$" * 2**20,
        "{" * 2**20,
        "\\boxed{\u202e٥²🙂}",
    ]
    with monkeypatch.context() as patch:
        patch.setattr(graders, "seconds", SHORT)
        grades = graders.grade(texts, [["6"]] * len(texts))
    assert not any(g.verdict == "right" for g in grades)
    assert all(g.reason for g in grades if g.verdict == "ungraded")
    assert verdicts(graders, [r"\boxed{6}"], [["6"]]) == ["right"]
