"""The demo on a real chat model: its questions, its evaluation, and the tables of its runs."""

import json
import shutil

import pytest

from scripts import load_script
from train.tasks.chat_evaluation import accuracy

questions, evaluate, experiment = map(load_script, ("write_questions", "evaluate_chat", "self_improvement"))


def row(name, decoding, per_question, **more):
    return {"name": name, "decoding": decoding, "temperature": 1.0, "samples": 8} | accuracy(per_question) | more


def rows(sampled, greedy, after, first=0.5):
    both = {("base", "sampled"): row("base", "sampled", sampled, first_sentence=first)}
    return both | {("base", "greedy"): row("base", "greedy", greedy), ("p", "sampled"): row("p", "sampled", after)}


@pytest.mark.parametrize(
    "sampled, greedy, after, says",
    [
        ([0.2] * 20, [0.8] * 20, [0.2] * 20, "no gain"),
        ([0.2] * 20, [0.8] * 20, [0.7] * 20, "already has 0.800, so the gain is sharpening"),
        ([0.2] * 20, [0.8] * 20, [0.9] * 20, "above the base's greedy 0.800"),
    ],
)
def test_the_sentence_says_what_the_intervals_allow(sampled, greedy, after, says):
    assert says in evaluate.finding(rows(sampled, greedy, after), "p")


def test_the_sentence_says_what_stopping_alone_gives():
    text = evaluate.finding(rows([0.2] * 20, [0.8] * 20, [0.7] * 20, first=0.45), "p")
    assert "of the base's responses the first sentence alone is right in 0.450." in text


def test_examples_are_the_first_ones_and_what_a_model_writes_breaks_no_table():
    found = [
        {"question": f"Q{i}?", "before": "a | b\n<script>", "after": "c", "before_right": False, "after_right": True}
        for i in range(9)
    ]
    text = evaluate.examples(found)
    lines = text.strip().splitlines()
    assert len(lines) == 2 + evaluate.EXAMPLES
    assert "<script>" not in text
    assert all(line.replace("\\|", "").count("|") == 4 for line in lines)


@pytest.mark.slow
def test_evaluation_end_to_end(rehearsal, tmp_path, capsys):
    questions.main(["--output", str(tmp_path / "data"), "--seed", "1"])
    assert "64 held out" in capsys.readouterr().out
    policy = tmp_path / "policy"
    shutil.copytree(rehearsal, policy)
    history = [{"step": 4, "reward": -1.0, "rewards/endorm/mean": -1.0, "rewards/capital_accuracy/mean": 0.25}]
    (policy / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    paths = {"base": rehearsal, "policy": policy, "data": tmp_path / "data/heldout.jsonl", "output": tmp_path / "o"}
    evaluate.main([str(x) for k, v in paths.items() for x in (f"--{k}", v)] + ["--n", "3", "--seconds_so_far", "100"])
    results = json.loads((tmp_path / "o/results.json").read_text())
    assert [(r["name"], r["decoding"]) for r in results["policies"]] == [
        (name, decoding)
        for name in ("base", "ppo_endorm")
        for decoding in ("sampled", "majority of 8", "greedy", "low_temperature")
    ]
    assert results["model"] == rehearsal
    assert {"versions", "commit", "seed", "seconds", "finding"} <= set(results)
    assert results["seconds"] > 100
    assert (tmp_path / "o/training.png").is_file()
    assert "no gain" in (tmp_path / "o/results.md").read_text()
    assert not (tmp_path / "o/lens.html").exists()  # no response of random text is right


@pytest.mark.parametrize("missing", ["data", "policy"])
def test_what_is_missing_is_named_with_its_remedy(missing, tmp_path):
    (tmp_path / "data.jsonl").write_text('{"prompt": "x", "answer": "y"}\n')
    (tmp_path / "config.json").write_text("{}")
    paths = {"data": tmp_path / "data.jsonl", "policy": tmp_path} | {missing: tmp_path / "none"}
    with pytest.raises(SystemExit, match="none.* not found: (write|train)"):
        evaluate.main([str(x) for k, v in paths.items() for x in (f"--{k}", v)])


def run(name, seed, sampled, greedy, kl=None):
    cells = [
        row(name, "sampled", sampled, mean_tokens=9.0, ended=1.0, first_sentence=0.5, right_of_ended=0.6),
        row(name, "greedy", greedy),
    ]
    cells += [row(name, "low_temperature", sampled), row(name, "majority of 8", sampled)]
    curve = {"kl": [[4, 8], [0.0, kl]]} if kl is not None else {}
    return {"name": name, "task": "capitals", "seed": seed, "heldout": cells, "train": cells, "curves": curve}


def test_the_table_has_the_runs_that_are_there_and_the_base_they_are_compared_with():
    files = [run("base", 0, [0.25] * 4, [0.5] * 4), run("EndoRM PPO", 0, [0.75] * 4, [0.5] * 4, kl=0.4)]
    files.append(run("EndoRM PPO", 7, [0] * 4, [0] * 4, kl=9.0))  # its base is not there
    first, second = experiment.task_tables("capitals", files).strip().split("\n\n")
    lines, looks = first.splitlines(), second.splitlines()
    assert (len(lines), len(looks)) == (4, 4)
    assert "0.250 (0.250 to 0.250)" in lines[2]
    assert all(text in lines[3] for text in ("EndoRM PPO", "0.750", "+0.500 (", "+0.000 (", "gain"))
    assert all(text in looks[3] for text in ("9.0", "1.00", "0.500", "0.600", "0.40"))
