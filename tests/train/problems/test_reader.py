"""The one reader over the layouts of many collections: training and evaluation see the same problems and answers."""

import json
import re

import pytest
from datasets import Dataset
from layouts import LAYOUTS
from tiny_models import SHARED
from transformers import AutoTokenizer

from rewards.reading.sources import load_table
from train.evaluation.problems import load_benchmark
from train.prompts import DataArguments, load_prompts


@pytest.fixture(scope="module")
def tokenizer(rehearsal):
    return AutoTokenizer.from_pretrained(rehearsal)


@pytest.fixture(params=list(LAYOUTS))
def layout(request):
    return LAYOUTS[request.param]


@pytest.fixture
def path(layout, tmp_path):
    rows = "".join(json.dumps(row) + "\n" for row in layout.rows)
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    return tmp_path / "rows.jsonl"


def train(path, tokenizer, **flags):
    return load_prompts(DataArguments(dataset_name=str(path), system_prompt="", **flags), tokenizer)[0]


def shown(prompt):
    """What the user says in a prompt."""
    return prompt if isinstance(prompt, str) else "".join(m["content"] for m in prompt if m["role"] == "user")


def test_training_reads_it(layout, path, tokenizer, caplog):
    if layout.refused:
        with pytest.raises(ValueError, match=layout.refused):
            train(path, tokenizer)
    data = train(path, tokenizer, **layout.flags)
    assert [shown(prompt) for prompt in data["prompt"]] == layout.shown
    if layout.golds:
        assert data["answer"][:] == [golds[0] for golds in layout.golds]
    else:
        assert "answer" not in set(data.column_names) - set(layout.rows[0])
        assert ("rewards will see no answers" in caplog.text) == (layout.flags.get("answer_column") != "")
    assert len([record for record in caplog.records if layout.said and layout.said in record.getMessage()]) <= 1
    if layout.said:
        assert re.search(layout.said, caplog.text)


def test_evaluation_reads_it(layout, path):
    if layout.refused or layout.unanswered:
        with pytest.raises(ValueError, match=layout.refused or layout.unanswered):
            load_benchmark(f"own={path}")
    if not layout.golds:
        with pytest.raises(ValueError, match="has no column of answers"):
            load_benchmark(f"own={path}", **layout.flags)
        return
    _, problems, notes = load_benchmark(f"own={path}", **layout.flags)
    assert [problem.problem for problem in problems] == layout.shown
    assert [problem.golds for problem in problems] == layout.golds
    assert re.search(layout.said, " ".join(notes))


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
@pytest.mark.parametrize(
    "name", ["MATH", "GSM8K", "SVAMP", "AQuA-RAT", "MMLU", "ARC", "DAPO-Math-17k (verl)", "NQ-open"]
)
def test_the_same_rows_in_other_files(name, kind, tmp_path):
    """CSV holds text alone: lists and objects as JSON in their cells."""
    layout, place = LAYOUTS[name], tmp_path / f"rows.{kind}"
    if kind == "csv":
        cells = [
            {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in row.items()} for row in layout.rows
        ]
        Dataset.from_list(cells).to_csv(place)
    elif kind == "parquet":
        Dataset.from_list(layout.rows).to_parquet(place)
    else:
        place.write_text(json.dumps({"data": layout.rows}), encoding="utf-8")
    problems = load_benchmark(f"own={place}")[1]
    assert [problem.problem for problem in problems] == layout.shown
    wanted = [("5.0",), ("4.0",)] if (name, kind) == ("SVAMP", "csv") else layout.golds
    assert [problem.golds for problem in problems] == wanted


def test_prompts_of_several_turns_are_trained_on_and_not_evaluated(tmp_path, tokenizer):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    single = [{"role": "system", "content": "s"}, {"role": "user", "content": "d"}]
    rows = [{"prompt": turns, "answer": "1"}, {"prompt": single, "answer": "2"}]
    place = tmp_path / "rows.jsonl"
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert train(place, tokenizer)["prompt"][:] == [turns, single]
    _, problems, notes = load_benchmark(f"own={place}")
    assert [(p.problem, p.golds) for p in problems] == [("d", ("2",))]
    assert notes == [
        "own: 1 prompts with more than one turn left out",
        "own: the template takes the place of 1 system messages",
    ]


def test_a_system_column_is_shown_with_conversations(tmp_path, tokenizer):
    layout = LAYOUTS["OpenThoughts"]
    (tmp_path / "rows.jsonl").write_text(json.dumps(layout.rows[0]))
    data = train(tmp_path / "rows.jsonl", tokenizer)
    assert data["prompt"][0][0] == {"role": "system", "content": "Think."}
    assert data["solution"][:] == [layout.rows[0]["conversations"][1]["value"]]
    assert data.column_names == ["system", "prompt", "solution", "answer"]


SMALL = {"aime24.jsonl": 30, "amc23.jsonl": 40, "math500.jsonl": 500, "minerva_math.jsonl": 272}
LARGE = {"gsm8k_train.jsonl.gz": 7473, "math_test.jsonl.gz": 5000, "math_train.jsonl.gz": 7498}
REAL = SMALL | {"olympiadbench.jsonl.gz": 675} | LARGE


@pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason="needs the benchmarks' own files, shared/data beside the repository"
)
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LARGE else []) for n in REAL])
def test_the_real_files_are_the_same_in_both(name, tokenizer):
    place = SHARED / "data" / name
    args = DataArguments(dataset_name=str(place), prompt_format="text", max_prompt_length=10**6)
    data, counts = load_prompts(args, tokenizer)
    _, problems, notes = load_benchmark(f"own={place}")
    assert counts["kept"] == len(problems) == REAL[name]
    assert data["prompt"][:] == [problem.problem for problem in problems]
    assert data["answer"][:] == [problem.golds[0] for problem in problems]
    rows = {row["id"]: row for row in load_table(str(place)).rows()}
    for problem in problems:
        assert problem.problem == rows[problem.id]["problem"]
        assert problem.golds[0] == re.sub(r"(?<!\\)\$", "", rows[problem.id]["answer"]).strip()
    assert notes == (["own: 2 rows without a problem or an answer left out"] if "math_train" in name else [])
