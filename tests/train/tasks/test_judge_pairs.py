"""Pairs for a judge: balanced, disjoint by country, both orders held out, and read as training reads them."""

import json
from collections import Counter

import numpy as np
import pytest
from tiny_models import tiny_tokenizer

from rewards.judges.templates import Template
from rewards.judges.verdicts import parse_choice
from train.prompts import DataArguments, load_heldout, load_prompts
from train.tasks.capitals import CAPITALS, question_of
from train.tasks.judge_pairs import EXAMPLE, main, pair_prompt, pair_rows, sentence, write_splits


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_prompt_shows_an_example_and_begins_the_answer():
    system, shown, said, asked, begun = pair_prompt("the Gambia", "Lima", "Banjul")
    assert [m["role"] for m in (system, shown, said, asked, begun)] == ["system", *["user", "assistant"] * 2]
    assert asked["content"].splitlines() == [
        "What is the capital of the Gambia?",
        "The capital of the Gambia is Lima. Verdict: [[A]]",
        "The capital of the Gambia is Banjul. Verdict: [[B]]",
    ]
    assert begun["content"] == "The capital of the Gambia is"
    country, a, b, winner = EXAMPLE
    assert {"A": a, "B": b}[winner] == CAPITALS[country][0]
    assert CAPITALS[country][0] in said["content"]
    assert parse_choice(said["content"]) == winner


def test_each_country_has_one_pair_in_both_orders():
    countries = ["Peru", "Chile", "Italy", "Kenya"]
    rows = pair_rows(countries, np.random.default_rng(0))
    assert [(row["country"], row["winner"]) for row in rows] == [(c, winner) for c in countries for winner in "AB"]
    known = {CAPITALS[country][0] for country in countries}
    for row in rows:
        assert row["right"] == CAPITALS[row["country"]][0] != row["wrong"]
        assert row["wrong"] in known
        shown = row["prompt"][3]["content"].splitlines()[1:]
        of = {parse_choice(line): line.split(" is ")[1].split(". Verdict")[0] for line in shown}
        assert of == dict(zip("AB" if row["winner"] == "A" else "BA", (row["right"], row["wrong"])))
    assert all(a["wrong"] == b["wrong"] for a, b in zip(rows[::2], rows[1::2]))
    assert len({row["wrong"] for row in rows}) > 1
    with pytest.raises(ValueError, match="1 countries make no pair"):
        pair_rows(["Peru"], np.random.default_rng(0))


def test_splits_are_disjoint_and_fixed_by_the_seed(tmp_path, capsys):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        main(["--output", str(tmp_path / name), "--seed", seed])
    assert "pairs to train on, 1" in capsys.readouterr().out
    text = {d: [(tmp_path / d / f"{s}.jsonl").read_text() for s in ("train", "heldout")] for d in "abc"}
    assert text["a"] == text["b"]
    assert text["a"][0] != text["c"][0]
    train, heldout = (read(tmp_path / "a" / f"{side}.jsonl") for side in ("train", "heldout"))
    asked = [{row["country"] for row in rows} for rows in (train, heldout)]
    assert asked[0] | asked[1] == set(CAPITALS) - {EXAMPLE[0]}
    assert not asked[0] & asked[1]
    assert len(train) + len(heldout) == 2 * len(CAPITALS) - 2


def test_the_files_are_read_as_training_reads_them(tmp_path):
    train, heldout = write_splits(tmp_path, n_heldout=40)
    args = DataArguments(dataset_name=str(train), heldout_name=str(heldout))
    rows, counts = load_prompts(args, tiny_tokenizer())
    assert counts["kept"] == counts["read"] == len(read(train))
    assert Counter(rows["winner"]) == dict.fromkeys("AB", len(rows) // 2)
    assert [m["role"] for m in rows[0]["prompt"]][-1] == "assistant"
    assert len(load_heldout(args, tiny_tokenizer())) == len(read(heldout))


def test_the_template_asks_as_training_did_up_to_the_country(tmp_path):
    write_splits(tmp_path)
    template = Template(tmp_path / "template.json", ("prompt", "response_a", "response_b"))
    responses = {"response_a": sentence("Peru", "Rome"), "response_b": sentence("Peru", "Lima")}
    chat = [{"role": "user", "content": question_of("Peru")}]
    *asked, begun = template.fill_for(str, chat, **responses)
    *trained, ended = pair_prompt("Peru", "Rome", "Lima")
    asked[-1]["content"] = asked[-1]["content"].removeprefix("User: ")  # judges are told who says what
    assert asked == trained
    assert begun["role"] == "assistant"
    assert ended["content"] == f"{begun['content']} Peru is"
