"""Benchmarks from files: columns, several gold answers, what is left out, prompts, and errors that name the fix."""

import gzip
import json

import pytest
from tiny_models import SHARED

from rewards.frozen.encoding import encode_prompt
from rewards.reading.table import Table
from train.evaluation import problems
from train.evaluation.problems import load_benchmark, write_prompt

DATA = SHARED / "data"


def write(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_own_file_with_its_columns(tmp_path):
    rows = [{"q": "1+1?", "a": ["2", "two"]}, {"q": "", "a": "3"}, {"q": "3?", "a": None}]
    path = write(tmp_path / "mine.jsonl.gz", rows)
    name, problems, notes = load_benchmark(f"mine={path}", problem_column="q", answer_column="a")
    assert (name, [(p.id, p.problem, p.golds) for p in problems]) == ("mine", [("mine-0", "1+1?", ("2", "two"))])
    assert notes == ["mine: 2 rows without a problem or an answer left out"]


def test_a_named_benchmark_from_a_folder_and_ids_that_repeat(tmp_path):
    write(tmp_path / "gsm8k.jsonl", [{"id": 1, "question": "a?", "answer": "x #### 1"}] * 2)
    _, problems, _ = load_benchmark("gsm8k", tmp_path)
    assert [(p.id, p.golds) for p in problems] == [("gsm8k-0", ("1",)), ("gsm8k-1", ("1",))]


def test_errors_name_the_fix(tmp_path):
    with pytest.raises(ValueError, match="use aime24, .*NAME=FILE"):
        load_benchmark("aime1924")
    with pytest.raises(FileNotFoundError, match="math500=FILE"):
        load_benchmark("math500", tmp_path)
    path = write(tmp_path / "a.jsonl", [{"text": "?", "answer": "1"}])
    with pytest.raises(ValueError, match="problem, question, .*columns found: text, answer.*--problem_column text"):
        load_benchmark(f"a={path}")
    with pytest.raises(ValueError, match="name other columns"):
        load_benchmark(f"b={write(tmp_path / 'b.jsonl', [{'problem': '', 'answer': '1'}])}")
    with pytest.raises(FileNotFoundError, match="use qwen-math, chat"):
        write_prompt("qwen-maths", "1+1?")


def test_templates(tmp_path):
    system, user = write_prompt("qwen-math", r"\frac{1}{2}?")
    assert system == {
        "role": "system",
        "content": r"Please reason step by step, and put your final answer within \boxed{}.",
    }
    assert user == {"role": "user", "content": r"\frac{1}{2}?"}
    assert write_prompt("chat", "{x}") == [{"role": "user", "content": "{x}"}]
    assert write_prompt("none", "{problem}") == "{problem}"
    assert write_prompt("question-answer", "1?") == "Question: 1?\nAnswer:"
    (tmp_path / "own.txt").write_text("Q {problem} A\n")
    assert write_prompt(str(tmp_path / "own.txt"), "1?") == "Q 1? A"


def test_the_official_prompt_is_that_of_qwen_math(rehearsal):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(rehearsal)
    text = tokenizer.decode(encode_prompt(tokenizer, write_prompt("qwen-math", "1+1?")))
    assert text == (
        "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the benchmarks' own files, shared/data beside the repository")
def test_the_real_files():
    sizes = {"aime24": 30, "amc23": 40, "math500": 500, "minerva_math": 272, "olympiadbench": 675}
    for name, size in sizes.items():
        _, problems, notes = load_benchmark(name, DATA)
        assert (len(problems), notes) == (size, [])
        assert len({p.id for p in problems}) == size


def test_splits_and_configurations_of_a_place(tmp_path, monkeypatch):
    asked = []

    def load_table(place, split, config, choose):
        asked.append((place, split, config))
        return Table(place, [{"question": "1+1?", "answer": 2}])

    monkeypatch.setattr(problems, "load_table", load_table)
    specs = ("gsm8k", "own=a/b", "own=a/b@train", "own=a/b@main:test", "own=a/b@main:test[:5]", "own=a/b@test[2:5]")
    assert [load_benchmark(spec)[1][0].golds for spec in specs] == [("2",)] * len(specs)
    splits = [("test", None), ("train", None), ("test", "main"), ("test[:5]", "main"), ("test[2:5]", None)]
    assert asked == [("openai/gsm8k", "test", "main"), *(("a/b", *split) for split in splits)]


def test_a_split_that_is_not_there(tmp_path):
    write(tmp_path / "train.jsonl", [{"problem": "1?", "answer": "1"}])
    with pytest.raises(
        ValueError, match="no split 'test', but train. Choose with NAME=PLACE@SPLIT or NAME=PLACE@CONFIG:"
    ):
        load_benchmark(f"own={tmp_path}")
    assert len(load_benchmark(f"own={tmp_path}@train")[1]) == 1


def test_prompts_that_are_rendered_already_are_told(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "<|im_start|>user\n1?<|im_end|>", "answer": "1"}])
    assert load_benchmark(f"a={path}")[2] == [
        "a: 1 prompts have the marks of a chat template already: --template none"
    ]
