"""Generic pairs: columns and shapes of responses, accuracy per source, several rejected responses, errors."""

import gzip
import json

import numpy as np
import pytest
from datasets import Dataset

from rewards.preferences import outcomes, pairs

USER = {"role": "user", "content": "Hello?"}


def said(text, *before):
    return [*before, {"role": "assistant", "content": text}]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def load(tmp_path, rows, **arguments):
    return pairs.load(write(tmp_path / "rows.jsonl", rows), **arguments)


def values(summary):
    return {name: score["value"] for name, score in summary["scores"].items()}


def test_text_and_messages_mean_the_same(tmp_path):
    expected = [[USER], ["good", "bad"]]
    for row in (
        {"prompt": "Hello?", "chosen": "good", "rejected": "bad"},
        {"prompt": [USER], "chosen": "good", "rejected": ["bad"]},
        {"prompt": "Hello?", "chosen": said("good", USER), "rejected": said("bad", USER)},
        {"chosen": said("good", USER), "rejected": said("bad", USER)},
        {"chosen": said("good", USER), "rejected": [said("bad", USER)]},
    ):
        comparisons = load(tmp_path, [row])
        group = comparisons.groups[0]
        assert [group.prompt, group.responses] == expected
        assert [a.tolist() for a in (comparisons.group, comparisons.better, comparisons.worse)] == [[0], [0], [1]]
    assert (
        load(tmp_path, [{"prompt": "Hello?", "chosen": "a", "rejected": "b"}], chat=False).groups[0].prompt == "Hello?"
    )


def test_system_column_replaces_a_system_message(tmp_path):
    old, new = ({"role": "system", "content": text} for text in ("old", "new"))
    rows = [
        {"sys": "new", "prompt": "Hello?", "chosen": said("good", USER), "rejected": said("bad", USER)},
        {"sys": "new", "prompt": [old, USER], "chosen": "good", "rejected": "bad"},
        {"sys": None, "prompt": [old, USER], "chosen": "good", "rejected": "bad"},
    ]
    prompts = [g.prompt for g in load(tmp_path, rows, system="sys").groups]
    assert prompts == [[new, USER], [new, USER], [old, USER]]


def test_accuracy_by_source_overall_and_macro(tmp_path):
    rows = [{"prompt": f"p{n}", "chosen": "c", "rejected": "r", "from": "abb"[n % 3]} for n in range(6)]
    comparisons = load(tmp_path, rows, group="from")
    outcome = np.array([1, 0, 0.5, 0, 1, np.nan])
    summary = pairs.summary(comparisons, outcome, draws=100)
    assert values(summary) == {
        "accuracy": pytest.approx(2 / 5),
        "macro_average": pytest.approx((1 / 2 + 1 / 3) / 2),
        "accuracy[a]": 1 / 2,
        "accuracy[b]": pytest.approx(1 / 3),
    }
    assert summary["counts"] == {"comparisons": 6, "won": 2, "tied": 1, "lost": 2, "not_scored": 1}
    assert summary["counts_by_source"]["b"] == {"comparisons": 4, "won": 1, "tied": 1, "lost": 1, "not_scored": 1}


def test_several_rejected_and_several_chosen(tmp_path):
    rows = [
        {"prompt": "p0", "chosen": ["c"], "rejected": ["r", "s", "t"], "subset": "Math"},
        {"prompt": "p1", "chosen": ["c"], "rejected": ["r", "s", "t"], "subset": "Math"},
        {"prompt": "p2", "chosen": ["c", "d"], "rejected": ["r", "s"], "subset": "Ties"},
        {"prompt": "p3", "chosen": ["c", "d"], "rejected": ["r", "s"], "subset": "Ties"},
    ]
    comparisons = load(tmp_path, rows, group="subset")
    assert len(comparisons) == 3 + 3 + 4 + 4
    outcome = outcomes(comparisons, [[3, 1, 2, 0], [3, 1, 3, 0], [5, 4, 3, 2], [5, 2, 3, 1]])
    assert pairs.all_beaten(comparisons, outcome).tolist() == [1, 0.5, 1, 0]
    summary = pairs.summary(comparisons, outcome, draws=50)
    assert values(summary) == pytest.approx(
        {
            "accuracy": 12 / 14,
            "macro_average": (5 / 6 + 7 / 8) / 2,
            "accuracy[Math]": 5 / 6,
            "accuracy[Ties]": 7 / 8,
            "all_beaten": 0.5,
            "macro_all_beaten": 0.5,
            "all_beaten[Math]": 0.5,
            "all_beaten[Ties]": 0.5,
        }
    )
    assert summary["rows_by_source"]["Math"] == {"comparisons": 2, "won": 1, "tied": 1, "lost": 0, "not_scored": 0}
    outcome[0] = np.nan
    assert np.isnan(pairs.all_beaten(comparisons, outcome)[0])
    best, worst = np.ones(14), np.zeros(14)
    assert {d["value"] for d in pairs.differences(comparisons, best, worst, draws=10).values()} == {1}


def test_label_column_says_which_side_is_better(tmp_path):
    rows = [
        {"question": "q", "response_A": "a", "response_B": "b", "label": label, "source": "x"}
        for label in ("A>B", "B>A", "A=B")
    ]
    preset = pairs.PRESETS["judgebench"] | {"name": write(tmp_path / "rows.jsonl", rows)}
    comparisons = pairs.load(**preset)
    assert [g.responses for g in comparisons.groups] == [["a", "b"], ["b", "a"]]
    assert comparisons.notes == [
        "1 rows left out: ties",
        "1 rows repeat the prompt of another; intervals resample them together",
    ]


def test_presets_name_arguments_and_fit_rows_of_the_published_shape(tmp_path):
    rows = {
        "multifaceted": {
            "main_source": "Nectar",
            "system": "Be kind.",
            "prompt": "Hello?",
            "chosen": said("good", USER),
            "rejected": said("bad", USER),
        },
        "rewardbench": {"prompt": "Hello?", "chosen": "good", "rejected": "bad", "subset": "hep-cpp", "id": 7},
        "rewardbench2": {"prompt": "Hello?", "chosen": ["good"], "rejected": ["bad"] * 3, "subset": "Math", "id": "1"},
        "judgebench": {
            "question": "Hello?",
            "response_A": "bad",
            "response_B": "good",
            "label": "B>A",
            "source": "mmlu-pro",
        },
    }
    assert rows.keys() == pairs.PRESETS.keys()
    for name, row in rows.items():
        file = {"name": write(tmp_path / f"{name}.jsonl", [row]), "split": "train"}
        comparisons = pairs.load(**pairs.PRESETS[name] | file)
        assert comparisons.groups[0].responses[:2] == ["good", "bad"]
        assert comparisons.labels["source"][0] in ("Nectar", "hep-cpp", "Math", "mmlu-pro")


def test_unusable_rows_are_left_out_and_counted(tmp_path):
    rows = [
        {"prompt": "p", "chosen": "c", "rejected": "r"},
        {"prompt": "", "chosen": "c", "rejected": "r"},
        {"prompt": "p", "chosen": None, "rejected": "r"},
        {"prompt": "p", "chosen": "c", "rejected": []},
    ]
    assert load(tmp_path, rows).notes == ["3 rows left out: no prompt or response"]
    rows = [
        {"chosen": said("c", USER), "rejected": said("r", USER)},
        {"chosen": said("c", USER), "rejected": said("r", USER, *said("and?"))},
    ]
    contradict = "1 rows left out: the histories of the responses contradict each other"
    assert load(tmp_path, rows).notes == [contradict]
    with pytest.raises(ValueError, match=f"no comparison is left: {contradict}"):
        load(tmp_path, rows[1:])


@pytest.mark.parametrize(
    "row, arguments, message",
    [
        (
            {"ask": "q", "chosen": "c", "rejected": "r"},
            {},
            "no column that asks, .* looked for prompt, question, .*; columns found: ask, chosen, .* --prompt_column",
        ),
        (
            {"prompt": "q", "text": "c", "score": 1},
            {},
            "Name them by --prompt_column, --chosen_column and --rejected_",
        ),
        ({"prompt": "q", "completions": ["a", "b"], "labels": [True, False]}, {}, "no column 'chosen', 'rejected'"),
        (
            {"prompt": "q", "chosen": "[{'role': 'user', 'content': 'u'}]", "rejected": "r"},
            {},
            "1 rows left out: messages as Python writes them, .* save the table as Parquet or JSON Lines",
        ),
        (
            {"prompt": "q", "completion": "c", "label": True},
            {},
            "one response with a label each, which makes no pairs",
        ),
        ({"prompt": "q", "chosen": "c", "rejected": "r"}, {"chosen": "won"}, "no column 'won'.*--chosen_column"),
        ({"prompt": "q", "chosen": "c", "rejected": "r"}, {"label": "won"}, "no column 'won'.*--label_column"),
        (
            {"question": "q", "answer_0": "a", "answer_1": "b", "score_0": 1, "score_1": 0},
            {"label": "score_0"},
            "read as WebGPT, which judges by .* Leave --label_column out",
        ),
        ({"prompt": "q", "chosen": "c", "rejected": "r", "label": 1}, {"label": "label"}, "which says '1'"),
        (
            {"chosen": [{"role": "judge", "content": "c"}], "rejected": said("r", USER)},
            {},
            "column 'chosen': unknown role 'judge'; known: system, developer, user, human",
        ),
        (
            {"chosen": [{"role": "user", "content": 3}], "rejected": "r"},
            {},
            "a message's content must be text; found 3",
        ),
        ({"prompt": "q", "better": "c"}, {}, "no column 'chosen', 'rejected'; columns found: prompt, better"),
        ({"chosen": said("c", USER), "rejected": said("r", USER)}, {"prompt": "q"}, "no column 'q'"),
        ({"prompt": "q", "chosen": "c", "rejected": "r"}, {"group": "src"}, "no column 'src'"),
        ({"prompt": "q", "chosen": [USER], "rejected": "r"}, {}, "must end with the assistant's"),
        ({"prompt": "q", "chosen": 3, "rejected": "r"}, {}, "column 'chosen' must hold text, chat messages or lists"),
        ({"prompt": [3], "chosen": "c", "rejected": "r"}, {}, "column 'prompt' must hold text or messages"),
        ({"prompt": [USER], "chosen": "c", "rejected": "r"}, {"chat": False}, "cannot be plain text: leave chat on"),
    ],
)
def test_wrong_columns_say_what_was_found(tmp_path, row, arguments, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, [row], **arguments)


def test_files_of_all_kinds_hold_the_same_rows(tmp_path):
    rows = [{"prompt": f"p{n}", "chosen": f"c\u2028{n}", "rejected": [f"r{n}", "s"]} for n in range(3)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
    loaded = [pairs.load(str(tmp_path / name)).groups for name in ("a.jsonl", "a.json", "a.jsonl.gz", "a.parquet")]
    assert loaded[0] == loaded[1] == loaded[2] == loaded[3]
    assert loaded[0][2].responses == ["c\u20282", "r2", "s"]
    (tmp_path / "a.tsv").write_text('prompt\tchosen\trejected\nWhich?\t"one\ntwo"\t007\n', encoding="utf-8-sig")
    assert pairs.load(str(tmp_path / "a.tsv")).groups[0].responses == ["one\ntwo", "007"]


def test_the_headline_is_the_accuracy_with_its_interval(tmp_path):
    rows = [{"prompt": f"p{n}", "chosen": "c", "rejected": "r", "from": "ab"[n % 2]} for n in range(20)]
    comparisons = load(tmp_path, rows, group="from")
    outcome = np.arange(20) % 3 / 2
    expected = pairs.summary(comparisons, outcome, draws=200)["scores"]["accuracy"]
    assert pairs.headline({"": comparisons}, {"": outcome}, draws=200) == pytest.approx(expected)
    other = np.where(np.arange(20) == 3, np.nan, outcome[::-1])
    above = pairs.headline({"": comparisons}, {"": outcome}, draws=200, minus={"": other})
    assert above == pytest.approx(pairs.differences(comparisons, outcome, other, draws=200)["accuracy"])


def test_bad_files_say_what_to_do(tmp_path):
    for name, text, error, message in (
        ("no.jsonl", None, FileNotFoundError, "no.jsonl is no file in"),
        ("a.xlsx", "a,b", ValueError, "convert it to one of them"),
        ("a.csv", "a,b", ValueError, "has no rows"),
        ("b.csv", "a,b\n1,2,3\n", ValueError, "b.csv, line 2 has 3 fields where the first line names 2"),
        ("a.jsonl", '{"a": 1}\n{"a": ', ValueError, "a.jsonl, line 2 is not JSON"),
        ("b.json", "[1, 2]", ValueError, "must hold JSON objects"),
        ("c.jsonl", "", ValueError, "has no rows"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(error, match=message):
            pairs.load(str(tmp_path / name))
    with pytest.raises(ValueError, match="limit is 0"):
        load(tmp_path, [{"prompt": "p", "chosen": "c", "rejected": "r"}], limit=0)
