"""The judges' demo: its synthetic domains and pairs, the arithmetic of its tables, its rival, and the whole script."""

import json
import math
import random
from collections import Counter

import numpy as np
import pytest
import torch
from domains import DOMAINS, STYLE, SYSTEM_LINES, answer, split_questions, style_log_prob
from domains import build_tokenizer as build_word_tokenizer
from judging_report import column_winners, domain_cells, judgement, labels_worth, share_beaten
from scipy.stats import chi2_contingency, chisquare
from table_cells import cells
from tiny_models import ROOT

from rewards.frozen.encoding import encode_prompt, encode_response
from scripts import load_script
from train.tasks.arithmetic import (
    EXPERT_ERROR,
    N_PROBLEMS,
    build_tokenizer,
    chain_responses,
    is_correct,
    preference_pairs,
    problem_arrays,
    prompt_index,
    prompt_text,
)
from train.tasks.arithmetic_model import build_model
from train.tasks.bradley_terry import bradley_terry_loss, fit_bradley_terry, reward, reward_model

RESULTS = ROOT / "scripts/experiments/judging/results"
QUESTION = "why does the river shape the road in spring ?"


@pytest.fixture(scope="module")
def script():
    return load_script("judge_domains")


@pytest.fixture(scope="module")
def answers():
    """2,000 answers of each domain to one question."""
    rng = random.Random(0)
    return {domain: [answer(QUESTION, domain, rng) for _ in range(2000)] for domain in DOMAINS}


def test_questions_are_split_by_seed_without_overlap():
    train, heldout = split_questions(100, seed=3)
    assert len(heldout) == 100
    assert len({*train, *heldout}) == len(train) + len(heldout) == 14 * 13 * 8 * 6
    assert (train, heldout) == split_questions(100, seed=3)
    assert heldout != split_questions(100, seed=4)[1]
    for n in (0, 14 * 13 * 8 * 6):
        with pytest.raises(ValueError, match="n_heldout must lie in"):
            split_questions(n, seed=0)


def test_answers_follow_the_random_stream_and_make_the_question_their_claim():
    first, again = ([answer(QUESTION, d, random.Random(5)) for d in DOMAINS] for _ in range(2))
    assert first == again
    for text in first:
        words = text.split()
        start = words.index("river") - 1
        claim = [w for w in words[start:] if w not in STYLE["manner"].split()][:6]
        assert claim == "the river does shape the road".split()  # noqa: SIM905


def test_lengths_are_distributed_alike_over_domains(answers):
    counts = {domain: Counter(len(text.split()) for text in texts) for domain, texts in answers.items()}
    assert all(set(count) == {13, 14, 15, 16} for count in counts.values())
    assert chi2_contingency([[count[n] for n in range(13, 17)] for count in counts.values()]).pvalue > 1e-3


@pytest.mark.parametrize("number, domain", enumerate(DOMAINS))
def test_every_domain_uses_every_word_with_the_odds_that_are_documented(answers, number, domain):
    said = Counter(word for text in answers[domain] for word in text.split())
    owners = {number: 1 / 2, {0: 1, 1: 0, 2: 3, 3: 2}[number]: 1 / 4}
    for slot, words in STYLE.items():
        seen = np.array([said[word] for word in words.split()])
        odds = np.repeat([owners.get(owner, 1 / 8) / 2 for owner in range(4)], 2)
        assert chisquare(seen, odds * seen.sum()).pvalue > 1e-4, slot


def test_the_generators_log_probability_by_hand_and_by_frequency(answers):
    plain = "notably the river does shape the road since the evidence implies it overall"
    turned = "notably the evidence implies it since the river does shape the road overall"
    for domain, word, first in zip(DOMAINS, (1 / 4, 1 / 8, 1 / 16, 1 / 16), (0.8, 0.6, 0.4, 0.2), strict=True):
        assert style_log_prob(plain, domain) == pytest.approx(math.log(first) + 5 * math.log(word))
        assert style_log_prob(turned, domain) == pytest.approx(math.log(1 - first) + 5 * math.log(word))
    # likelihood ratios average to one over answers of the denominator, if they are those of the answers' distribution
    for other in DOMAINS:
        ratios = [math.exp(style_log_prob(t, other) - style_log_prob(t, "academy")) for t in answers["academy"]]
        assert np.mean(ratios) == pytest.approx(1, abs=0.25)


def test_every_text_of_the_domains_can_be_tokenised_word_by_word(answers):
    tokenizer = build_word_tokenizer()
    for line in (None, *SYSTEM_LINES.values()):
        prompt = encode_prompt(tokenizer, QUESTION, line)
        assert tokenizer.decode(prompt) == (f"{line} {QUESTION}" if line else QUESTION)
    for texts in answers.values():
        ids = encode_response(tokenizer, texts[0], append_eos=True)
        assert tokenizer.decode(ids, skip_special_tokens=True) == texts[0]
        assert (len(ids), ids[-1]) == (len(texts[0].split()) + 1, tokenizer.eos_token_id)
    with pytest.raises(Exception, match="WordLevel error"):
        tokenizer("an unheard word")


def test_preference_pairs_are_right_and_wrong_by_seed():
    indices = np.random.default_rng(0).integers(N_PROBLEMS, size=500)
    pairs = preference_pairs(*problem_arrays(indices), np.random.default_rng(1))
    for written, right in zip(pairs, (True, False), strict=True):
        texts = ["".join(map(str, row)) for row in written]
        assert all(is_correct(prompt_text(i), t) is right for i, t in zip(indices, texts, strict=True))
    again = preference_pairs(*problem_arrays(indices), np.random.default_rng(1))
    assert all((a == b).all() for a, b in zip(pairs, again, strict=True))


def test_preference_pairs_err_at_each_step_as_often_as_the_expert_unasked():
    problems = problem_arrays(np.full(4000, prompt_index("7+5-3+8-2=")))
    pairs = preference_pairs(*problems, np.random.default_rng(1))
    truth, free = chain_responses(*problems), chain_responses(*problems, EXPERT_ERROR, np.random.default_rng(2))
    right = free[:, -1] == truth[:, -1]
    for written, rows in zip(pairs, (right, ~right), strict=True):
        np.testing.assert_allclose((written != truth).mean(0), (free[rows] != truth[rows]).mean(0), atol=0.04)


def test_table_cells_equal_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    scores = {row: rng.integers(0, 4, size=(30, 4)).astype(float) for row in "xy"}  # small integers: many ties
    for cell in domain_cells({row: share_beaten(s) for row, s in scores.items()}, DOMAINS):
        table, own = scores[cell["row"]], DOMAINS.index(cell["column"])
        wins = ties = pairs = 0
        for question in table:
            for other in range(4):
                if other != own:
                    pairs += 1
                    wins += question[own] > question[other]
                    ties += question[own] == question[other]
        assert cell["accuracy"] == pytest.approx(wins / pairs)
        assert cell["ties"] == pytest.approx(ties / pairs)
        assert cell["ci95"][0] < cell["accuracy"] < cell["ci95"][1]


def test_a_column_is_won_by_its_own_row_only_when_above_all_others():
    own, other = np.array([[0.9, 0.2], [0.7, 0.4]]), np.array([[0.5, 0.3], [0.7, 0.3]])
    found = column_winners({"a": own, "b": other}, ["a", "b"])
    assert (found["a"]["largest"], found["a"]["rival"]) == ("a", "b")
    assert found["a"]["above_rival"]["difference"] == pytest.approx(0.2)
    assert found["a"]["above_rival"]["ci95"] == pytest.approx([0.0, 0.4])
    assert found["b"]["largest"] == "a"  # equal means are no win
    assert found["b"]["above_rival"]["difference"] == pytest.approx(0)


def test_a_judgement_counts_ties_as_losses_and_pairs_the_difference():
    margins = np.array([1.0, 0.0, -1.0, 2.0])
    row = judgement(margins, reference=margins)
    assert (row["accuracy"], row["ties"]) == (0.5, 0.25)
    assert row["endorm_above"] == {"difference": 0, "ci95": [0, 0]}  # equal judges: unpaired it would have a width
    assert judgement(margins, reference=np.ones(4))["endorm_above"]["difference"] == 0.5


def test_worth_is_the_fewest_labels_that_are_enough():
    curve = [{"start": s, "labels": k, "accuracy": a} for s, k, a in
             [("x", 64, 0.5), ("x", 512, 0.9), ("x", 4096, 0.95), ("y", 64, 0.6)]]  # fmt: skip
    assert labels_worth({"accuracy": 0.9}, curve) == {"x": 512, "y": None}


def test_bradley_terry_loss_is_the_log_probability_of_the_preference():
    chosen, rejected = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    preferred = chosen.exp() / (chosen.exp() + rejected.exp())
    assert bradley_terry_loss(chosen, rejected).item() == pytest.approx(-preferred.log().mean().item(), rel=1e-5)


def test_reward_model_has_the_size_of_the_lm_and_learns_its_pairs_without_touching_it():
    torch.manual_seed(0)
    lm = build_model(build_tokenizer(), hidden=16, layers=1).eval()
    before = [p.clone() for p in lm.parameters()]
    model, scratch = reward_model(lm, from_lm=True), reward_model(lm, from_lm=False)
    assert model.num_parameters() == scratch.num_parameters() == lm.num_parameters() + 16
    same = [torch.equal(a, b) for a, b in zip(model.base_model.parameters(), lm.base_model.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(scratch.base_model.embed_tokens.weight, lm.base_model.embed_tokens.weight)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(2, 16, size=(40, 6)))
    tokens[:, -1] = 1
    hidden = model.base_model(input_ids=tokens).last_hidden_state
    assert torch.allclose(reward(model, tokens), hidden[:, -1] @ model.score.weight[0], atol=1e-5)
    chosen, rejected = tokens[:20], tokens[20:]
    fit_bradley_terry(
        model, chosen, rejected, steps=40, batch_size=8, learning_rate=1e-2, rng=np.random.default_rng(0)
    )
    assert (reward(model, chosen) > reward(model, rejected)).all()
    assert all(torch.equal(a, b) for a, b in zip(before, lm.parameters(), strict=True))


def test_every_label_is_seen_once_an_epoch(monkeypatch):
    seen = []

    def record(model, tokens):
        seen.extend(tokens.chunk(2)[0][:, 0].tolist())
        return model(tokens.float())[:, 0]

    monkeypatch.setattr("train.tasks.bradley_terry.reward", record)
    pairs, model = torch.arange(10)[:, None], torch.nn.Linear(1, 1)
    fit_bradley_terry(model, pairs, pairs + 1, steps=6, batch_size=4, learning_rate=1e-3, rng=np.random.default_rng(0))
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


@pytest.mark.slow
def test_the_whole_script_on_a_few_steps(script, tmp_path, capsys):
    sizes = "--threads 1 --questions 60 --problems 40 --labels 4 8 --domain_steps 120 --expert_steps 3 --least_steps 2"
    script.main(["--output", str(tmp_path), "--seed", "7", *sizes.split()])
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["seed"] == 7
    assert results["settings"]["labels"] == [4, 8]
    assert results["settings"]["primary"] == {"form": "reward", "discount": 1.0}
    assert results["command"].split()[1] == "scripts/experiments/judging/judge_domains.py"
    assert {"versions", "commit", "seconds"} <= results.keys()

    steering, labels = results["steering"], results["labels"]
    rows = [*DOMAINS, "no system line", "length only (shorter)", "generator itself"]
    accuracy = {(c["row"], c["column"]): c["accuracy"] for c in steering["cells"]}
    assert list(accuracy) == [(row, column) for row in rows for column in DOMAINS]
    for cell in steering["cells"]:
        assert 0 <= cell["ci95"][0] <= cell["accuracy"] <= cell["ci95"][1] <= 1
    largest = [max(rows[:5], key=lambda row: accuracy[row, column]) == column for column in DOMAINS]
    assert steering["diagonal_wins"] == sum(largest)
    own = np.mean([accuracy[d, d] for d in DOMAINS])  # a prompt steers even a model of 120 steps
    assert own > np.mean([accuracy[a, b] for a in DOMAINS for b in DOMAINS if a != b]) + 0.1
    assert all(accuracy["generator itself", d] > accuracy["length only (shorter)", d] for d in DOMAINS)

    assert [(r["form"], r["discount"]) for r in labels["endorm"]] == [
        (form, discount) for discount in (1.0, 0.95) for form in ("reward", "logprob")
    ]
    assert [r["primary"] for r in labels["endorm"]] == [True, False, False, False]
    assert labels["endorm"][0]["accuracy"] == labels["endorm"][1]["accuracy"]  # equal boundary terms in a pair
    starts = ("from scratch", "from the noisy expert")
    assert [(r["start"], r["labels"]) for r in labels["bradley_terry"]] == [(s, k) for s in starts for k in (4, 8)]
    for row in labels["bradley_terry"]:
        assert row["endorm_above"]["difference"] == pytest.approx(labels["endorm"][0]["accuracy"] - row["accuracy"])
    assert (labels["length_only"]["accuracy"], labels["length_only"]["ties"]) == (0, 1)  # all have four digits

    assert (tmp_path / "judging.png").read_bytes().startswith(b"\x89PNG")
    report = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert report in capsys.readouterr().out
    shown = {line[0]: line[1:] for line in cells(report)}
    for row in rows:
        for cell, domain in zip(shown[row], DOMAINS, strict=True):
            own = cell.startswith("**")
            assert own == (row == domain)
            assert cell.removeprefix("**").startswith(f"{accuracy[row, domain]:.3f} (")
    assert report.count("| Bradley-Terry, ") == 4


@pytest.mark.parametrize("bad", ["--questions 1", "--problems 1", "--labels 64 0"])
def test_too_little_to_judge_is_refused(script, bad, capsys):
    with pytest.raises(SystemExit):
        script.main(bad.split())
    assert "at least" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_committed_results_are_of_the_defaults_and_say_what_their_cells_say(seed):
    results = json.loads((RESULTS / f"seed{seed}.json").read_text(encoding="utf-8"))
    assert results["seed"] == seed
    assert results["settings"]["labels"] == [64, 512, 4096]
    accuracy = {(c["row"], c["column"]): c["accuracy"] for c in results["steering"]["cells"]}
    rows = (*DOMAINS, "no system line")
    largest = [max(rows, key=lambda row: accuracy[row, column]) for column in DOMAINS]
    assert largest == list(DOMAINS)
    assert results["steering"]["diagonal_wins"] == 4
