"""The task of capitals: its table, its questions, files and splits, and the reward that is only logged."""

import json

import pytest
from tiny_models import tiny_tokenizer

from train.prompts import DataArguments, load_heldout, load_prompts
from train.tasks.capital_claims import normalise
from train.tasks.capitals import (
    CAPITALS,
    COUNTRY_NAMES,
    answer_of,
    capital_accuracy,
    country_of,
    is_correct,
    question_of,
    split_countries,
    write_splits,
)

FORMS = [
    "{}",
    "{}.",
    "It's {}.",
    "{}, {country}",
    "The capital of {country} is {}.",
    "The capital city of {country} is **{}**!",
    "The capital of {country} is {}, a city known for its markets. It is",
    "{} is the capital of {country}.",
]


def said(name, country):
    """What a response may say to claim a name, in several spellings."""
    texts = [form.format(name, country=country) for form in FORMS]
    return [*texts, *map(str.lower, texts), *map(str.upper, texts), *map(normalise, texts)]


def test_the_table_is_large_and_no_capital_is_two_countries():
    assert len(CAPITALS) >= 150
    owners = {}
    for country, names in CAPITALS.items():
        assert len({normalise(name) for name in names}) == len(names), "a spelling that normalising makes anyway"
        for name in names:
            assert owners.setdefault(normalise(name), country) == country
    names = [normalise(name) for names in COUNTRY_NAMES.values() for name in names]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("country", CAPITALS)
def test_every_capital_is_right_for_its_own_country_and_for_no_other(country):
    question = question_of(country)
    assert country_of(question) == country
    for name in CAPITALS[country]:
        wrong = [text for text in said(name, country) if not is_correct(question, text)]
        assert wrong == []
    others = [name for other, names in CAPITALS.items() if other != country for name in (*names, other)]
    right = [
        text
        for name in others
        for text in (name, FORMS[4].format(name, country=country))
        if is_correct(question, text)
    ]
    assert right == []


@pytest.mark.parametrize(
    "country, response, right",
    [
        ("Ukraine", "The capital of Ukraine is Kiev.", True),
        ("Ukraine", "Kyiv, also spelled Kiev, is the capital of Ukraine.", True),
        ("Ukraine", "Kyivan Rus", False),
        ("Mexico", "The capital of Mexico is Mexico.", False),
        ("Mexico", "The capital of Mexico is Ciudad de México.", True),
        ("Chile", "Santiago", True),
        ("Chile", "Santiago de Cuba", False),
        ("Djibouti", "The capital of Djibouti is Djibouti, a country in East Africa.", True),
        ("Djibouti", "Djibouti is a country in East Africa.", False),
        ("Djibouti", "The capital of Djibouti is Ali Sabieh.", False),
        ("Guinea", "The capital of Guinea-Bissau is Conakry.", False),
        ("Guinea-Bissau", "The capital of Guinea-Bissau is Bissau.", True),
        ("Niger", "The capital of Nigeria is Niamey.", False),
        ("the Republic of the Congo", "The capital of the Democratic Republic of the Congo is Brazzaville.", False),
        ("the Maldives", "A male penguin", False),
        ("Italy", "Romeo", False),
        ("Peru", "Limassol", False),
        ("Saint Vincent and the Grenadines", "Kingston", False),
        ("Jamaica", "Kingstown", False),
        ("the United States", "The capital of the U.S. is Washington, D.C. It lies on the Potomac.", True),
        ("the United States", "Washington DC", True),
        ("the United States", "Washington State", False),
        ("the United Kingdom", "The capital of the United Kingdom is London, England.", True),
        ("Antigua and Barbuda", "Saint John's.", True),
        ("Tonga", "Nuku'alofa", True),
        ("Tonga", "NUKUALOFA", True),
        ("South Africa", "Pretoria, Cape Town and Bloemfontein", True),
        ("South Africa", "Pretoria, Cape Town and Durban", False),
        ("Trinidad and Tobago", "Port of Spain, Trinidad and Tobago", True),
    ],
)
def test_spellings_and_names_within_names(country, response, right):
    assert is_correct(question_of(country), response) is right


def test_answers_that_mean_the_same_are_one_answer():
    """For a majority vote."""
    question = question_of("Ukraine")
    assert answer_of(question, "Kiev") == answer_of(question, "It is Kyiv.") == "Kyiv"
    assert answer_of(question, "The capital of Ukraine is Lviv!") == answer_of(question, "LVIV") == "lviv"
    assert answer_of(question, "I do not know.") is None


def test_reward_reads_chats_and_plain_text():
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question_of("France")}]
    reply = [{"role": "assistant", "content": "Paris."}]
    prompts = [chat, chat, question_of("Peru")]
    rewards = capital_accuracy(prompts=prompts, completions=[reply, "Lyon", "Lima"], completion_ids=[[1]] * 3)
    assert rewards == [1.0, 0.0, 1.0]
    assert capital_accuracy.__name__ == "capital_accuracy"
    with pytest.raises(ValueError, match="zip"):
        capital_accuracy(prompts=prompts, completions=["Lima"])


@pytest.mark.parametrize("text", ["", "What is the capital of Atlantis?", "What is the capital of Gambia?", "1+1=?"])
def test_a_question_of_another_task_is_refused(text):
    with pytest.raises(ValueError, match="not a question of this task"):
        is_correct(text, "Paris")


def test_splits_are_disjoint_by_country_and_fixed_by_the_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_splits(tmp_path / name, n_heldout=40, seed=seed)
    text = {d: [(tmp_path / d / f"{s}.jsonl").read_text() for s in ("train", "heldout")] for d in "abc"}
    assert text["a"] == text["b"]
    assert text["a"][1] != text["c"][1]
    train, heldout = ([json.loads(line) for line in part.splitlines()] for part in text["a"])
    asked = [{country_of(row["prompt"][-1]["content"]) for row in rows} for rows in (train, heldout)]
    assert (len(train), len(heldout)) == (len(CAPITALS) - 40, 40)
    assert asked[0] | asked[1] == set(CAPITALS)
    assert not asked[0] & asked[1]
    assert all(is_correct(row["prompt"][-1]["content"], row["answer"]) for row in train + heldout)


@pytest.mark.parametrize("n_heldout", [0, len(CAPITALS)])
def test_a_split_with_an_empty_side_is_refused(n_heldout):
    with pytest.raises(ValueError, match=f"set it between 1 and {len(CAPITALS) - 1}"):
        split_countries(n_heldout)


@pytest.mark.parametrize("system_prompt", [None, "Answer in one word."])
def test_the_files_are_read_as_training_reads_them(system_prompt, tmp_path):
    train, heldout = write_splits(tmp_path, system_prompt=system_prompt)
    args = DataArguments(dataset_name=str(train), heldout_name=str(heldout))
    rows, counts = load_prompts(args, tiny_tokenizer())
    assert (counts["kept"], counts["read"]) == (len(CAPITALS) - 64, len(CAPITALS) - 64)
    assert set(rows.column_names) == {"prompt", "answer", "solution"}
    roles = ["system", "user"] if system_prompt else ["user"]
    assert all([message["role"] for message in row["prompt"]] == roles for row in rows)
    assert len(load_heldout(args, tiny_tokenizer())) == 64
