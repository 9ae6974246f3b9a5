"""SFT on chosen responses: its pairs, its loss, its rows of two answers, the whole script, and what was found."""

import json
import re

import numpy as np
import pytest
import torch
from tiny_models import ROOT, VOCAB_SIZE, tiny_model, tiny_tokenizer
from torch.nn.functional import cross_entropy

from scripts import load_script
from train.tasks.word_problems import split_stories

RESULTS = ROOT / "scripts/experiments/preference_sft/results/results.json"


@pytest.fixture(scope="module")
def pairs_of_chat():
    return load_script("chat_pairs")


@pytest.fixture(scope="module")
def script(pairs_of_chat):
    return load_script("preference_sft")


@pytest.fixture(scope="module")
def llama():
    return tiny_model("llama", num_hidden_layers=3, max_position_embeddings=256).float()


def random_rows(module, sizes, seed=0):
    """Rows of so many tokens of prompt, chosen and rejected answer."""
    rng = np.random.default_rng(seed)
    kinds = [torch.tensor([kind for kind, n in enumerate(row) for _ in range(n)]) for row in sizes]
    return [module.Row(torch.from_numpy(rng.integers(5, VOCAB_SIZE, size=len(k))), k) for k in kinds]


def number_in(text):
    return int(re.fullmatch(r"The answer is (\d+)\.", text).group(1))


def test_heldout_problems_stories_and_numbers_are_not_in_training(pairs_of_chat):
    train, heldout = pairs_of_chat.draw_pairs(800, 200, seed=1)
    assert (train, heldout) == pairs_of_chat.draw_pairs(800, 200, seed=1)
    asked = [[pair["prompt"][-1]["content"] for pair in side] for side in (train, heldout)]
    assert [len(set(questions)) for questions in asked] == [800, 200]
    stories = [
        {re.sub(r"\{\w+\}", "@", text) for _, sides in split_stories(1).items() for text in sides[i]} for i in (0, 1)
    ]

    def told(question, side):
        return any(re.fullmatch(re.escape(text).replace("@", r"\w+"), question) for text in stories[side])

    assert all(told(question, side) and not told(question, 1 - side) for side in (0, 1) for question in asked[side])
    numbers = [{tuple(sorted(re.findall(r"\d+", question))) for question in questions} for questions in asked]
    assert not numbers[0] & numbers[1]


def test_chosen_answers_are_right_and_rejected_ones_are_not(pairs_of_chat):
    for operation, right in {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}.items():
        pairs, _ = pairs_of_chat.draw_pairs(60, 8, seed=2, operations=operation)
        for pair in pairs:
            a, b = map(int, re.findall(r"\d+", pair["prompt"][-1]["content"]))
            a, b = max(a, b) if operation in "-/" else a, min(a, b) if operation in "-/" else b
            assert number_in(pair["chosen"]) == right(a, b)
            wrong = number_in(pair["rejected"])
            assert wrong != right(a, b)
            assert wrong > 0
            assert wrong in {a + b, abs(a - b), a * b} or abs(wrong - right(a, b)) <= 9


def test_the_loss_is_that_of_a_plain_loop_over_the_answers_tokens(pairs_of_chat, llama):
    both = random_rows(pairs_of_chat, [(4, 3, 2), (6, 2, 5)])
    for kind in (pairs_of_chat.CHOSEN, pairs_of_chat.REJECTED):
        rows = [row.with_answer(kind) for row in both]
        losses = []
        for row in rows:
            logits = llama(input_ids=row.ids[None]).logits[0]
            answer = (row.kinds == kind).nonzero()[:, 0].tolist()
            losses += [cross_entropy(logits[i - 1], row.ids[i]) for i in answer]
        inputs, ids, kinds = pairs_of_chat.collate(rows)
        loss = pairs_of_chat.answer_loss(llama, inputs, ids.where(kinds == kind, -100))
        assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-4)
        assert pairs_of_chat.imitation_loss(llama, rows).item() == pytest.approx(loss.item(), rel=0.05)  # in bf16


def test_two_answers_in_a_row_do_not_see_each_other(pairs_of_chat, llama):
    rows = random_rows(pairs_of_chat, [(4, 3, 2), (6, 2, 5), (3, 1, 1)])
    inputs, _, kinds = pairs_of_chat.collate(rows)
    states = llama.base_model(**inputs).last_hidden_state
    for row, state, kind_row in zip(rows, states, kinds, strict=True):
        for kind in (pairs_of_chat.CHOSEN, pairs_of_chat.REJECTED):
            alone = row.with_answer(kind)
            expected = llama.base_model(input_ids=alone.ids[None]).last_hidden_state[0]
            kept = (kind_row == pairs_of_chat.PROMPT) | (kind_row == kind)
            torch.testing.assert_close(state[kept], expected, rtol=1e-3, atol=1e-3)


def test_the_top_layers_go_on_from_the_lower_ones_and_are_the_models_own(pairs_of_chat, llama):
    rows = random_rows(pairs_of_chat, [(4, 3, 2), (6, 2, 5)])
    inputs, ids, kinds = pairs_of_chat.collate(rows)
    whole = llama.base_model(**inputs).last_hidden_state
    pairs_of_chat.read_lower_layers(llama, 2, rows)
    top = pairs_of_chat.layers_of(llama, 1, 3)
    found = top.base_model(**pairs_of_chat.collate(rows)[0]).last_hidden_state
    there = kinds != pairs_of_chat.PADDING
    assert (found - whole)[there].abs().max() < 0.05 * whole[there].abs().max()  # the lower layers are read in bf16
    assert all(a is b for a, b in zip(top.base_model.layers, llama.base_model.layers[1:], strict=True))


def test_batches_read_every_row_once_an_epoch(pairs_of_chat):
    rows = random_rows(pairs_of_chat, [(3 + i % 5, 1, 1) for i in range(70)])
    stream = pairs_of_chat.batches(rows, 4, np.random.default_rng(0))
    epochs = [[batch for _, batch in zip(range(18), stream)] for _ in range(2)]
    seen = [[id(row) for batch in epoch for row in batch] for epoch in epochs]
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(map(id, rows))
    assert seen[0] != seen[1]


def test_every_judge_takes_the_same_steps(script):
    assert [script.steps_for(k, script.ARITHMETIC) for k in (64, 512, 4096)] == [80, 80, 256]
    assert [script.steps_for(k, script.WORDS) for k in (64, 512, 2048)] == [16, 32, 128]


def test_a_judgement_counts_ties_as_losses(script):
    row = script.judgement("any", 3, [np.array([1.0, 0.0, -1.0, 2.0]), np.array([1.0, 1.0, 1.0, -1.0])])
    assert (row["accuracy"], row["ties"], row["discounted"], row["responses"]) == (0.5, 0.25, 0.75, 3)


@pytest.mark.slow
def test_the_whole_script_on_a_few_steps(script, monkeypatch, tmp_path, capsys):
    for how in script.TRAINING.values():
        monkeypatch.setitem(how, "least_steps", 2)
    tiny_model("llama", num_hidden_layers=3, max_position_embeddings=512).float().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    sizes = "--seeds 5 --responses 8 --problems 20 --expert_steps 2 --chat_responses 4 8 --chat_problems 8"
    flags = ["--output", str(tmp_path / "out"), "--model", str(tmp_path / "model"), "--trained_layers", "2"]
    script.main([*flags, *sizes.split()])
    results = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))
    assert results["command"].split()[1] == "scripts/experiments/preference_sft/preference_sft.py"
    found = [(row["judge"], row["responses"]) for row in results["rows"] if row["setting"] == script.WORDS]
    judges = [(script.CHOSEN_SFT, 0), *((judge, k) for k in (4, 8) for judge in script.JUDGES)]
    assert found == judges
    assert all(row["accuracy_ci95"][0] <= row["accuracy"] <= row["accuracy_ci95"][1] for row in results["rows"])
    assert all(("discounted" in row) == (row["judge"] != script.RIVAL) for row in results["rows"])
    text = (tmp_path / "out/results.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert text.count("| EndoRM of the base") == len(script.SETTINGS)
    assert (tmp_path / "out/accuracy.png").read_bytes().startswith(b"\x89PNG")
    # a run that was killed after its first setting makes only the second one again, and the same
    killed = results | {"rows": [row for row in results["rows"] if row["setting"] != script.WORDS]}
    (tmp_path / "out/results.json").write_text(json.dumps(killed), encoding="utf-8")
    with monkeypatch.context() as context:
        context.setitem(script.SETTINGS, script.ARITHMETIC, None)  # is not called
        script.main([*flags, *sizes.split()])
    assert json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["rows"] == results["rows"]
    with pytest.raises(SystemExit, match="is of a run with other settings"):
        script.main([*flags, *sizes.replace("20", "30").split()])


def test_committed_results_are_of_the_default_settings(script):
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert re.fullmatch(r"python \S+preference_sft\.py( --output \S+)?", results["command"])
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?", results["commit"])
    training = json.loads(json.dumps(script.TRAINING))
    assert results["settings"]["training"] == training
    for setting, most in ((script.ARITHMETIC, 4096), (script.WORDS, 2048)):
        rows = [row for row in results["rows"] if row["setting"] == setting]
        assert {row["seed"] for row in rows} == {0, 1, 2}
        assert {row["responses"] for row in rows} == {0, 64, 512, most}
