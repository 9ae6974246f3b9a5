"""Word problems and base model of the middle size: arithmetic done again from the story, noise, splits, limits."""

import json
import operator
import random
import re

import pytest
import torch
import yaml
from conftest import ROOT, SHARED
from torch.utils.data import DataLoader

from train.bpe_tokenizer import EOS, train_tokenizer
from train.math_benchmarks import TEXT, load_benchmark
from train.middle_model import WARM_UP, build_model, fit_within, heldout_loss, rate
from train.middle_task import (
    ERROR,
    PROMPT,
    PackedRows,
    draw_problem,
    load_texts,
    noisy_document,
    write_solution,
    write_splits,
)

LINE = re.compile(r"(-?\d+) ([-+*]) (-?\d+) = (-?\d+)")
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
RNG = random.Random(5)
DOCUMENTS = [noisy_document(RNG, ERROR) for _ in range(60)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(DOCUMENTS, 320, 256)


def read_story(story: str) -> int:
    """The answer, from the words of the story alone."""
    opening, *changes, question = re.split(r"(?<=[.?]) ", story)
    value = int(re.search(r"\d+", opening)[0])
    assert question.startswith("How many")
    for sentence in changes:
        numbers = [int(n) for n in re.findall(r"\d+", sentence)]
        if "boxes of" in sentence or "bags with" in sentence:
            value += numbers[0] * numbers[1]
        elif " times " in sentence:
            value *= numbers[0]
        elif " more" in sentence:
            value += numbers[0]
        else:
            assert re.search("sells|gives|lost", sentence)
            value -= numbers[0]
    return value


def wrong_steps(solution: str) -> list[bool]:
    steps = [(int(a), o, int(b), c) for a, o, b, c in LINE.findall(solution)]
    for a, o, b, written in steps:
        right = str(OPERATIONS[o](a, b))
        if written != right:  # one digit is another one
            assert [x == y for x, y in zip(written, right, strict=True)].count(False) == 1
    return [str(OPERATIONS[o](a, b)) != written for a, o, b, written in steps]


def test_solutions_are_what_the_story_says():
    rng = random.Random(0)
    for _ in range(500):
        problem = draw_problem(rng)
        solution, answer = write_solution(problem)
        assert answer == read_story(problem.story)
        assert solution.endswith(rf"\boxed{{{answer}}}.")
        assert not any(wrong_steps(solution))
        assert all(10 <= int(c) <= 9999 for _, _, _, c in LINE.findall(solution))
        assert 2 <= len(problem.changes) <= 4


def test_noise_has_the_share_asked_for_and_later_steps_go_on_from_it():
    rng, wrong, answers = random.Random(1), [], []
    for _ in range(1500):
        problem = draw_problem(rng)
        solution, answer = write_solution(problem, ERROR, rng)
        wrong += wrong_steps(solution)
        answers.append(answer == write_solution(problem)[1])
        lines, value = iter(LINE.findall(solution)), str(problem.start)
        for symbol, n, packs in problem.changes:
            operand = str(n)
            if packs:
                *step, operand = next(lines)
                assert step == [str(packs), "*", str(n)]
            *step, after = next(lines)
            assert step == [value, symbol, operand]
            value = after
        assert next(lines, None) is None
        assert str(answer) == value
    spread = (ERROR * (1 - ERROR) / len(wrong)) ** 0.5
    assert abs(sum(wrong) / len(wrong) - ERROR) < 4 * spread
    assert 0.6 < sum(answers) / len(answers) < 0.75  # 0.9 to the power of some four steps


def test_an_error_without_a_generator_is_refused():
    with pytest.raises(ValueError, match="needs an rng"):
        write_solution(draw_problem(random.Random(0)), 0.1)


def test_splits_are_disjoint_right_and_the_same_again(tmp_path):
    heldout = write_splits(tmp_path / "a", 60, 20, seed=3)
    assert write_splits(tmp_path / "b", 60, 20, seed=3) == heldout != write_splits(tmp_path / "c", 60, 20, seed=4)
    train = [json.loads(line) for line in (tmp_path / "a/train.jsonl").read_text().splitlines()]
    assert (len(train), len(heldout)) == (60, 20)
    assert not heldout & {row["problem"] for row in train}
    name, problems, _ = load_benchmark(f"synthetic={tmp_path / 'a/heldout.jsonl'}")
    assert {p.problem for p in problems} == heldout
    assert all(p.golds == (str(read_story(p.problem)),) for p in problems)


def test_heldout_stories_never_reach_the_training_rows(tokenizer):
    class WithEggs:  # one problem in ten, which makes the test sure to see some
        def __contains__(self, story):
            return "eggs" in story

    def with_eggs(exclude):
        documents = PackedRows(tokenizer, [], exclude, synthetic=1.0).documents(random.Random("x"))
        return sum("eggs" in next(documents) for _ in range(300))

    assert with_eggs(()) > 10
    assert with_eggs(WithEggs()) == 0


def test_rows_are_the_documents_one_after_another(tokenizer):
    texts = ["Some other text.", "And one more, of 12 words."]
    rows = PackedRows(tokenizer, texts, (), length=64, synthetic=0.5, seed=2)
    written = tokenizer.decode(torch.cat([row for row, _ in zip(rows, range(30))]))
    documents = rows.documents(random.Random("2 0"))
    assert written.count(EOS) > 10
    for text in written.split(EOS)[:-1]:
        assert text == next(documents)
    batches = iter(DataLoader(rows, 4, num_workers=2))
    first, second = next(batches), next(batches)
    assert first.shape == (4, 64)
    assert not torch.equal(first, second)  # workers have streams of their own
    with pytest.raises(ValueError, match="no other texts"):
        PackedRows(tokenizer, [], ())


def test_tokenizer_gives_back_any_text_and_reads_digit_by_digit(tokenizer):
    for text in [*DOCUMENTS[:5], "Zoë's π ≈ 3.14159 \\frac{1}{2}\t日本\n\n x"]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert [t for t in tokenizer.tokenize("= 2796") if t.isdigit()] == ["2", "7", "9", "6"]
    assert max(len(re.findall(r"\d", token)) for token in tokenizer.get_vocab()) == 1
    with pytest.raises(ValueError, match="260 is the least"):
        train_tokenizer(DOCUMENTS, 100)


def test_prompts_of_training_recipe_and_evaluation_agree():
    recipe = yaml.safe_load((ROOT / "configs/middle/ppo.yaml").read_text())
    assert recipe["text_template"] == PROMPT == TEXT["question-answer"]


def test_default_size_is_of_the_middle(tokenizer):
    with torch.device("meta"):
        model = build_model(tokenizer)
    assert 20e6 < model.num_parameters() + (8192 - model.config.vocab_size) * 512 < 60e6
    with pytest.raises(ValueError, match="multiple of 64"):
        build_model(tokenizer, hidden=100)


class Clock:
    def __init__(self, *times):
        self.times = list(times)

    def __call__(self):
        return self.times.pop(0)


def trained(tokenizer, clock=None, **limits):
    torch.manual_seed(0)
    model = build_model(tokenizer, hidden=64, layers=1)
    before = model.lm_head.weight.detach().clone()
    batch = tokenizer(DOCUMENTS[:4], padding=True, return_tensors="pt")["input_ids"]
    more = {} if clock is None else {"clock": clock}
    steps = fit_within(model, iter([batch] * 40), learning_rate=0.01, **limits, **more)
    return steps, (model.lm_head.weight - before).abs().max().item(), model


def test_training_ends_with_its_time_and_the_rate_follows_the_clock(tokenizer):
    assert trained(tokenizer, Clock(7, 7, 9, 11, 13, 15, 17), seconds=10)[0] == 5
    assert trained(tokenizer, Clock(7, 7, 12, 17), seconds=10)[0] == 2  # half as fast
    assert trained(tokenizer, Clock(0, 0, 1, 2, 3), seconds=10, steps=3)[0] == 3  # what comes first
    # one step of AdamW moves by its rate: half of the peak in the middle, nothing to speak of at the end
    middle, end = (trained(tokenizer, Clock(0, t, 100), seconds=100)[1] for t in (51, 99.9))
    assert middle == pytest.approx(0.005, rel=0.02)
    assert end < 1e-5
    assert (rate(0), rate(WARM_UP), rate(1)) == (0, 1, 0)
    with pytest.raises(ValueError, match="set one or both"):
        trained(tokenizer)
    with pytest.raises(ValueError, match="ended after 40 steps"):
        trained(tokenizer, steps=41)


def test_heldout_loss_is_the_mean_over_tokens_and_falls(tokenizer):
    start, model = trained(tokenizer, Clock(0, 1), seconds=1)[1:]
    assert start == 0.0
    documents, total, count = DOCUMENTS[10:17], 0.0, 0
    for text in documents:
        ids = tokenizer(text + EOS, return_tensors="pt")["input_ids"][:, :256]
        with torch.no_grad():
            log_probs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        total -= log_probs.gather(-1, ids[0, 1:, None]).sum().item()
        count += ids.shape[1] - 1
    loss = heldout_loss(model, tokenizer, documents, batch_size=3)
    assert loss == pytest.approx(total / count, rel=1e-5)
    assert heldout_loss(trained(tokenizer, steps=40)[2], tokenizer, documents) < loss - 1


def test_texts_of_the_hub_and_of_files_become_the_same_documents(tmp_path):
    gsm8k = [{"question": f"{i} + 1?", "answer": f"It is <<{i}+1={i + 1}>>{i + 1}.\n#### {i + 1}"} for i in range(40)]
    local = [{"problem": row["question"], "solution": row["answer"]} for row in gsm8k]
    maths = [{"problem": f"Name {i}.", "solution": rf"$\boxed{{{i}}}$"} for i in range(20)]
    texts = {}
    for name, rows in (("hub", gsm8k), ("files", local)):
        folder = tmp_path / name
        folder.mkdir()
        for file, content in (("gsm8k_train", rows), ("math_train", maths)):
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
        texts[name] = load_texts(folder, folder / "out")
    train, heldout = texts["hub"]
    assert texts["files"] == (train, heldout)
    assert (len(train), len(heldout)) == (57, 3)
    assert train[0] == "Question: 1 + 1?\nAnswer: It is 2.\nThe answer is \\boxed{2}."
    assert [p.golds for p in load_benchmark(f"g={folder / 'out/gsm8k_heldout.jsonl'}")[1]] == [("1",), ("21",)]
    with pytest.raises(FileNotFoundError, match="has no gsm8k_train.jsonl"):
        load_texts(tmp_path, tmp_path)


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the folder with real data is absent")
def test_real_texts_end_with_a_box_and_what_is_held_out_is_not_trained_on(tmp_path):
    train, heldout = load_texts(SHARED / "data", tmp_path)
    assert len(heldout) == pytest.approx(0.05 * (len(train) + len(heldout)), rel=0.01)
    assert not set(train) & set(heldout)
    assert sum(r"\boxed" in text for text in train) == len(train)
    assert not any("####" in text or "<<" in text for text in train[:7000])
