"""Prompts for RL: boxed answers, column choice, what is dropped and how it is counted."""

import copy
import gzip
import json
import logging
from pathlib import Path

import datasets
import pytest
from datasets import Dataset
from transformers import AutoTokenizer, HfArgumentParser

from rewards.answers import last_boxed
from train.prompts import DataArguments, load_prompts
from train.tasks.rehearsal_model import make_rehearsal_model

ROOT = Path(__file__).resolve().parents[2]
MATH_TRAIN = ROOT.parent / "shared" / "data" / "math_train.jsonl.gz"
SYSTEM = DataArguments().system_prompt

ROWS = [
    {"problem": "What is 1+1?", "solution": r"It is $\boxed{2}$.", "level": "Level 1"},
    {"problem": "Halve one.", "solution": r"First \boxed{9}, no: $\boxed{\frac{1}{2}}$", "level": "Level 2"},
    {"problem": "Count the primes.", "solution": r"There are $\boxed{}$ primes.", "level": "Level 3"},
    {"problem": "Never answered.", "solution": "No box here.", "level": "Level 4"},
    {"problem": " ", "solution": r"\boxed{7}", "level": "Level 5"},
    {"problem": "Add " + "1 + " * 200 + "1.", "solution": r"\boxed{201}", "level": "Level 5"},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    output = tmp_path_factory.mktemp("rehearsal")
    make_rehearsal_model([row["problem"] + row["solution"] for row in ROWS], output, vocab_size=300, layers=1)
    return AutoTokenizer.from_pretrained(output)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(
        datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache")
    )  # leave none of it in the user's


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def load(tmp_path, rows, tokenizer, **fields):
    return load_prompts(DataArguments(dataset_name=write(tmp_path / "rows.jsonl", rows), **fields), tokenizer)


@pytest.mark.parametrize(
    "text, content",
    [
        (r"so $\boxed{\frac{1}{\sqrt{2}}}$.", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}} is the set", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{a \\{b} c}", r"a \\{b} c"),
        (r"\boxed{1} or rather \boxed{2}", "2"),
        (r"\boxed{1}, that is \fbox{one}", "one"),
        (r"\fbox{3}", "3"),
        (r"is $\boxed 5$.", "5"),
        (r"is \(\boxed 5\).", "5"),
        (r"is \boxed 5.", "5"),
        (r"\boxed\frac12$ and more", r"\frac12"),
        (r"$= \boxed {17}.$$- OR -", "17"),
        (r"\boxed{ x }", "x"),
        (r"\boxed{}", ""),
        (r"\boxed{ }", ""),
        (r"\boxed{1} then \boxed{\frac{1}{2}", None),
        (r"\boxedness{1}", None),
        (r"in a \boxed", None),
        ("no box {1}", None),
        ("", None),
    ],
)
def test_last_boxed(text, content):
    assert last_boxed(text) == content


def test_unusable_rows_are_dropped_and_counted(tmp_path, tokenizer, caplog):
    with caplog.at_level(logging.INFO, logger="train.prompts"):
        data, counts = load(tmp_path, ROWS, tokenizer, max_prompt_length=200)
    longest = counts.pop("longest_prompt")
    rendered = [tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in data["prompt"]]
    assert longest == max(len(tokenizer(text)["input_ids"]) for text in rendered)
    assert counts == {"read": 6, "empty_prompt": 1, "no_answer": 2, "too_long": 1, "over_limit": 0, "kept": 2}
    assert data["answer"][:] == ["2", r"\frac{1}{2}"]
    assert data["solution"][:] == [row["solution"] for row in ROWS[:2]]
    assert data["level"][:] == ["Level 1", "Level 2"]
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "problem from problem; solution from solution; not read: level" in caplog.text
    assert "6 rows read, 2 kept; dropped 1 with an empty prompt, 2 without an answer" in caplog.text
    assert "1 longer than 200 tokens" in caplog.text


@pytest.mark.parametrize("prompt_format", ["chat", "text"])
def test_the_length_limit_is_exact_and_includes_the_template(tmp_path, tokenizer, prompt_format):
    rows = [{"problem": "x" * n, "answer": "1"} for n in range(1, 30)]

    def length(problem):
        if prompt_format == "text":
            return len(tokenizer.encode(problem))
        rendered = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{problem}<|im_end|>\n"
        return len(tokenizer.encode(rendered + "<|im_start|>assistant\n"))

    limit = length("x" * 15)
    fitting = [row["problem"] for row in rows if length(row["problem"]) <= limit]
    data, counts = load(tmp_path, rows, tokenizer, prompt_format=prompt_format, max_prompt_length=limit)
    assert data["problem"][:] == fitting
    assert 0 < counts["too_long"] == len(rows) - len(fitting)


def test_chat_and_text_prompts(tmp_path, tokenizer):
    rows = ROWS[:2]
    user = {"role": "user", "content": "What is 1+1?"}
    chat, _ = load(tmp_path, rows, tokenizer)
    assert chat["prompt"][0] == [{"role": "system", "content": SYSTEM}, user]
    for none in (None, ""):
        plain, _ = load(tmp_path, rows, tokenizer, system_prompt=none)
        assert plain["prompt"][0] == [user]
    template = r"Q: {problem} Use \boxed{{}}. A:"
    text, _ = load(tmp_path, rows, tokenizer, prompt_format="text", text_template=template)
    assert text["prompt"][0] == r"Q: What is 1+1? Use \boxed{}. A:"


def test_all_file_kinds_give_the_same_dataset(tmp_path, tokenizer):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.md").write_text("About these rows.")
    names = [write(tmp_path / "a.jsonl", ROWS), str(tmp_path / "b.jsonl.gz"), str(tmp_path / "c.parquet")]
    with gzip.open(names[1], "wt", encoding="utf-8") as file:
        file.write(Path(names[0]).read_text(encoding="utf-8"))
    Dataset.from_list(ROWS).to_parquet(names[2])
    names.append(str(tmp_path / "d.json"))
    Path(names[3]).write_text(json.dumps(ROWS), encoding="utf-8")
    write(tmp_path / "folder" / "train.jsonl", ROWS)
    write(tmp_path / "folder" / "test.jsonl", ROWS[:1])
    names.append(str(tmp_path / "folder"))
    loaded = [load_prompts(DataArguments(dataset_name=name), tokenizer) for name in names]
    assert loaded[0][1]["kept"] == 3
    for data, counts in loaded[1:]:
        assert (data.to_list(), counts) == (loaded[0][0].to_list(), loaded[0][1])


def test_the_answer_column_comes_before_the_box(tmp_path, tokenizer):
    rows = [
        {"question": "a", "gold": 72, "work": r"\boxed{1}"},
        {"question": "b", "gold": None, "work": r"\boxed{8}"},
        {"question": "c", "gold": None, "work": "nothing"},
    ]
    columns = {"problem_column": "question", "answer_column": "gold", "solution_column": "work"}
    data, counts = load(tmp_path, rows, tokenizer, **columns)
    assert data["answer"][:] == ["72", "8"]
    assert counts["no_answer"] == 1
    assert set(data.column_names) == {"question", "prompt", "solution", "answer"}


@pytest.mark.parametrize("template, warnings", [(None, []), ("{{ messages }}", ["used as it stands"])])
def test_text_prompts_alone_are_nothing_to_warn_of_but_beside_a_chat_template(
    template, warnings, tmp_path, tokenizer, caplog
):
    own = copy.deepcopy(tokenizer)
    own.chat_template = template
    with caplog.at_level(logging.WARNING, logger="train.prompts"):
        load(tmp_path, [{"prompt": "1 + 1 ="}], own)
    assert len(caplog.records) == len(warnings)
    assert all(words in caplog.text for words in warnings)


def test_columns_that_give_way_are_told(tmp_path, tokenizer, caplog):
    rows = [{"problem": "a", "answer": "old", "final_answer": "5", "prompt": "old"}]
    data, _ = load(tmp_path, rows, tokenizer, problem_column="problem", answer_column="final_answer", system_prompt="")
    assert data.to_list() == [
        {"problem": "a", "prompt": [{"role": "user", "content": "a"}], "solution": "5", "answer": "5"}
    ]
    assert "columns of the data that give way to what is made of others: answer, prompt" in caplog.text


def test_columns_of_several_kinds_reach_rewards_as_text(tmp_path, tokenizer, caplog):
    data, _ = load(tmp_path, [{"problem": "a", "x": 1}, {"problem": "b", "x": "y"}], tokenizer)
    assert data["x"][:] == ["1", '"y"']
    assert "columns with values of several kinds are handed on as JSON text: x" in caplog.text


def test_gsm8k_answers_are_what_follows_the_hashes(tmp_path, tokenizer):
    rows = [{"question": "How many?", "answer": "Sold 48/2 = <<48/2=24>>24.\n#### 1,072"}]
    data, _ = load(tmp_path, rows, tokenizer, problem_column="question")
    assert data["answer"][:] == ["1,072"]


def test_rows_without_any_answer_are_kept_where_the_dataset_has_none(tmp_path, tokenizer):
    data, counts = load(tmp_path, [{"problem": "Write a poem."}], tokenizer)
    assert counts["kept"] == 1
    assert "answer" not in data.column_names


def test_ready_prompts_are_used_as_they_stand(tmp_path, tokenizer):
    text, counts = load(
        tmp_path, [{"query": "Hello", "prompt": "old"}, {"query": ""}], tokenizer, prompt_column="query"
    )
    assert text["prompt"][:] == ["Hello"]
    assert counts["empty_prompt"] == 1
    messages = [{"role": "user", "content": "Hello"}]
    chat, counts = load(tmp_path, [{"prompt": messages, "problem": "p"}, {"prompt": None}], tokenizer)
    assert chat["prompt"][:] == [messages]
    assert counts["empty_prompt"] == 1


def test_a_prompt_column_can_be_treated_as_the_problem(tmp_path, tokenizer):
    data, _ = load(
        tmp_path, [{"prompt": "1+1"}], tokenizer, prompt_column="", problem_column="prompt", system_prompt=""
    )
    assert data["prompt"][:] == [[{"role": "user", "content": "1+1"}]]


def test_ready_prompts_of_the_wrong_kind_are_refused(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="row 1: .*'role' and 'content'.*--prompt_column ''"):
        load(tmp_path, [{"prompt": [{"speaker": "human", "value": "Hello"}]}], tokenizer)
    with pytest.raises(ValueError, match="row 2: .*only texts or only lists"):
        load(tmp_path, [{"prompt": "Hello"}, {"prompt": [{"role": "user", "content": "Hello"}]}], tokenizer)


def test_the_filter_measures_what_the_trainers_read(tmp_path, tokenizer):
    """With the run's variables of the chat template and each row's own, and the tools of a row."""
    shows = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    shows.chat_template = "{{ tools | tojson if tools else '' }}{{ filler * (n or 0) }}{{ messages[0].content }}"
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    rows = [
        {"prompt": [{"role": "user", "content": "a"}]},
        {"prompt": [{"role": "user", "content": "a"}], "chat_template_kwargs": {"n": 9}},
        {"prompt": [{"role": "user", "content": "a"}], "tools": [tool]},
    ]
    path, variables = write(tmp_path / "rows.jsonl", rows), {"filler": "7", "n": 2}
    lengths = []
    for row in rows:
        own = variables | row.get("chat_template_kwargs", {})
        ids = shows.apply_chat_template(row["prompt"], tools=row.get("tools"), add_generation_prompt=True, **own)
        lengths.append(len(ids["input_ids"]))
    assert len(set(lengths)) == 3
    for most in sorted(lengths):
        args = DataArguments(dataset_name=path, max_prompt_length=most)
        data, counts = load_prompts(args, shows, variables)
        assert counts["kept"] == len(data) == sum(length <= most for length in lengths)
        assert counts["longest_prompt"] == most


def test_no_chat_template(tmp_path, tokenizer):
    bare = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    bare.chat_template = None
    with pytest.raises(ValueError, match="no chat template.*--prompt_format text"):
        load(tmp_path, ROWS, bare)
    with pytest.raises(ValueError, match="no chat template.*prompt column plain text"):
        load(tmp_path, [{"prompt": [{"role": "user", "content": "Hello"}]}], bare)
    assert load(tmp_path, ROWS, bare, prompt_format="text")[1]["kept"] == 3


def test_wrong_columns_are_named(tmp_path, tokenizer):
    rows = [{"wonder": "Why?", "answer": "1"}]
    with pytest.raises(
        ValueError, match="problem, question, .*columns found: wonder, answer.*--problem_column wonder"
    ):
        load(tmp_path, rows, tokenizer)
    with pytest.raises(ValueError, match=r"no column 'anwser' \(--answer_column\); columns found"):
        load(tmp_path, rows, tokenizer, problem_column="wonder", answer_column="anwser")
    with pytest.raises(ValueError, match="row 1: column 'answer' must hold text, numbers.*fields a.*answer.FIELD"):
        load(tmp_path, [{"problem": "Why?", "answer": {"a": "1"}}], tokenizer)


def test_bad_sources_are_named(tmp_path, tokenizer):
    with pytest.raises(FileNotFoundError, match="absent.jsonl.*correct the path"):
        load_prompts(DataArguments(dataset_name="absent.jsonl"), tokenizer)
    (tmp_path / "rows.txt").write_text("problem\n1+1\n")
    with pytest.raises(ValueError, match="rows.txt.*convert it"):
        load_prompts(DataArguments(dataset_name=str(tmp_path / "rows.txt")), tokenizer)
    with pytest.raises(ValueError, match="none of .jsonl"):
        load_prompts(DataArguments(dataset_name=str(tmp_path)), tokenizer)
    Dataset.from_list(ROWS).to_parquet(write(tmp_path / "rows.jsonl", ROWS).replace("jsonl", "parquet"))
    with pytest.raises(ValueError, match="JSON and Parquet files; keep one kind"):
        load_prompts(DataArguments(dataset_name=str(tmp_path)), tokenizer)


def test_no_usable_row_is_an_error(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="no usable row.*6 rows read, 0 kept.*--max_prompt_length"):
        load(tmp_path, ROWS, tokenizer, max_prompt_length=1)


def test_max_train_samples_counts_usable_rows(tmp_path, tokenizer):
    data, counts = load(tmp_path, ROWS[2:] + ROWS[:2], tokenizer, max_train_samples=2)
    assert data["answer"][:] == ["201", "2"]
    assert counts["over_limit"] == 1
    assert counts.pop("longest_prompt") > 0
    assert counts["read"] == sum(counts.values()) - counts["read"]


def test_split_slices_of_a_local_file(tmp_path, tokenizer):
    assert load(tmp_path, ROWS, tokenizer, dataset_split="test[:1]")[1]["read"] == 1


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"prompt_format": "html"}, "'chat' or 'text'"),
        ({"max_prompt_length": 0}, "1 token or more"),
        ({"max_train_samples": 0}, "null for all rows"),
        ({"dataset_name": ""}, "dataset_name is empty"),
        ({"text_template": "Solve it."}, "no {problem}"),
        ({"text_template": r"{problem} \boxed{}"}, "double its literal braces"),
        ({"system_prompt": "within \boxed{}"}, "single quotes"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DataArguments(**fields)


def test_settings_parse_from_the_command_line():
    (args,) = HfArgumentParser(DataArguments).parse_args_into_dataclasses(
        ["--prompt_format", "text", "--system_prompt", "", "--max_train_samples", "5"]
    )
    assert (args.prompt_format, args.system_prompt, args.max_train_samples) == ("text", "", 5)
    assert args.dataset_name == "DigitalLearningGmbH/MATH-lighteval"
    assert args.dataset_config is None
    assert r"\boxed{}" in DataArguments().system_prompt


@pytest.mark.slow
def test_math_train_answers_come_out_of_the_solutions(tmp_path, tokenizer):
    if not MATH_TRAIN.is_file():
        pytest.skip(
            "the MATH train file (shared/data/math_train.jsonl.gz beside the repository) is not on this machine"
        )
    with gzip.open(MATH_TRAIN, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    answers = {row["id"]: row.pop("answer").strip() for row in rows}
    data, counts = load(tmp_path, rows, tokenizer, prompt_format="text", max_prompt_length=10**6)
    assert (counts["read"], counts["no_answer"], counts["kept"]) == (7500, 2, 7498)
    derived = dict(zip(data["id"][:], data["answer"][:], strict=True))
    assert derived == {name: answer for name, answer in answers.items() if answer}


@pytest.mark.parametrize(
    ("row", "reference"),
    [
        ({"answer": 5}, "5"),
        ({"answer": "5", "solution": r"so $\boxed{5}$"}, r"so $\boxed{5}$"),
        ({"answer": "5", "solution": "so\n#### 5"}, "so\n#### 5"),
        ({"answer": "5", "solution": "5"}, "5"),
        ({"answer": "5", "solution": "We count."}, "We count.\n\n$\\boxed{5}$"),
        ({"answer": "5", "solution": r"$\boxed{6}$"}, "$\\boxed{6}$\n\n$\\boxed{5}$"),
        ({"answer": "text\n#### 5"}, "5"),
        ({"choices": ["4", "5"], "answer": 1, "solution": r"$\boxed{5}$"}, "$\\boxed{5}$\n\n$\\boxed{B}$"),
    ],
)
def test_what_rewards_read_ends_in_the_right_answer(tmp_path, tokenizer, row, reference):
    data, _ = load(tmp_path, [{"problem": "2 + 3?"} | row], tokenizer)
    assert data["solution"][:] == [reference]
    assert data.features["solution"].dtype == data.features["answer"].dtype == "string"
