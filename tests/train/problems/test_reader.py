"""The one reader over the layouts of many collections: training and evaluation see the same problems and answers."""

import json
import re

import pytest
from layouts import LAYOUTS
from transformers import AutoTokenizer

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
