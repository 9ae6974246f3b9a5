"""The evaluations of judges end to end on small files: their cells, their cache, what does not fit, all judges."""

import json
import random

import pytest
import table_cells
from tiny_models import judge_model, tiny_model, tiny_tokenizer, word_tokenizer
from transformers import AutoModelForSequenceClassification

from rewards import EndoRM
from scripts import load_script


@pytest.fixture(scope="module")
def script():
    return load_script("eval_judges")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("judge")
    tiny_model(initializer_range=0.2, max_position_embeddings=128).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def rm_bench(tmp_path):
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(5, 7))) for _ in range(36)]
    sides = [words[i : i + 3] for i in range(0, 36, 3)]
    rows = [
        {"id": n, "prompt": f"q{n}", "chosen": sides[2 * n], "rejected": sides[2 * n + 1], "domain": "chat"}
        for n in range(6)
    ]
    return write(tmp_path / "rm_bench.jsonl", rows), rows


@pytest.fixture
def run(script, tmp_path):
    common = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "out"), "--draws", "50"]

    def judged(benchmark, *flags):
        script.main([benchmark, *map(str, flags), *common, "--device", "cpu"])
        return json.loads((tmp_path / "out" / "results.json").read_text())

    return judged


@pytest.mark.slow
def test_rm_bench_cells_are_those_of_endorm_and_a_sweep_makes_no_forward(model, rm_bench, run, tmp_path):
    data, rows = rm_bench
    results = run("rm_bench", "--model", model, "--data", data)
    rm = EndoRM.from_pretrained(model, device="cpu")

    def score(row, text):
        return rm.score([[{"role": "user", "content": row["prompt"]}]], [text])[0]

    wins = [[[score(r, a) > score(r, b) for b in r["rejected"]] for a in r["chosen"]] for r in rows]
    cells = [[sum(w[i][j] for w in wins) / len(rows) for j in range(3)] for i in range(3)]
    endorm = results["judges"]["endorm"]
    for ours, theirs in zip(endorm["matrices"]["chat"], cells, strict=True):
        assert ours == pytest.approx(theirs)
    assert endorm["scores"]["chat_average"]["value"] == pytest.approx(sum(map(sum, cells)) / 9)
    assert endorm["scores"]["official_average"]["value"] is None
    assert endorm["facts"]["forwards"] > 0
    assert "endorm minus random" in results["differences"]
    assert len(results["differences"]) == 2
    assert "length_correlation" in endorm
    assert (tmp_path / "out" / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert "random" in (tmp_path / "out" / "results.md").read_text()
    assert results["command"].startswith("python scripts/eval_judges.py rm_bench --model")
    assert (results["settings"]["model"], results["benchmark"]) == (model, "RM-Bench")
    assert results["versions"]["torch"]

    swept = run("rm_bench", "--model", model, "--data", data, "--sweep")
    assert swept["judges"]["endorm"]["facts"] == {"forwards": 0, "tokens": 0}
    assert len(swept["sweep"]) == 8 * 2 * 3
    first = swept["sweep"][0]
    assert first["setting"]["discount"] == 1.0
    assert first["views"][""]["chat_average"] == pytest.approx(endorm["scores"]["chat_average"]["value"])
    assert len({row["views"][""]["chat_average"] for row in swept["sweep"]}) > 1
    page = (tmp_path / "out" / "results.md").read_text()
    assert not any(f"{domain} average" in page for domain in ("math", "code", "safety"))
    assert "- math: no rows; the official scores are means over all four domains" in page
    shown = [row[-1] for row in table_cells.cells(page.split("## Sweep")[1].split("\n\n")[1])[2:]]
    best = sorted((row["figure"]["value"] for row in swept["sweep"]), reverse=True)
    assert [float(figure.split()[0]) for figure in shown] == [pytest.approx(100 * value, abs=0.051) for value in best]
    assert all(" to " in figure for figure in shown)


@pytest.mark.parametrize("too_long", ["count", "cut"])
def test_a_response_beyond_the_models_positions_is_counted_or_cut(too_long, model, rm_bench, run, tmp_path):
    rows = rm_bench[1]
    rows[2]["chosen"][2] = "x" * 500
    data = write(tmp_path / "long.jsonl", rows)
    results = run("rm_bench", "--model", model, "--data", data, "--too_long", too_long)
    endorm = results["judges"]["endorm"]
    assert endorm["counts"]["not_scored"] == (3 if too_long == "count" else 0)
    said = "not scored" if too_long == "count" else "cut to fit"
    assert f"1 responses beyond the model's positions: {said}" in endorm["notes"]


@pytest.mark.slow
def test_dsp_prompts_make_a_table(model, run, tmp_path):
    domains = ("academy", "business", "entertainment", "literature", "normal")
    rows = [{"id": n, "query": f"q{n}", "responses": {d: f"{d[:3]}{n}" for d in domains}} for n in range(5)]
    folder = tmp_path / "prompts"
    folder.mkdir()
    for domain in domains[:4]:
        (folder / f"dsp_{domain}.txt").write_text(f"be {domain}")
    flags = ("--data", write(tmp_path / "dsp.jsonl", rows), "--prompts", folder, "--sweep", "--discounts", 1, 0.5)
    results = run("dsp", "--model", model, *flags)
    table = results["tables"]["endorm"]["all"]
    rm = EndoRM.from_pretrained(model, device="cpu")
    for i, prompt in enumerate(table["rows"]):
        for j, test in enumerate(table["columns"]):
            wins = 0
            for row in rows:
                chat = [{"role": "system", "content": f"be {prompt}"}, {"role": "user", "content": row["query"]}]
                scores = dict(zip(domains, rm.score([chat] * 5, [row["responses"][d] for d in domains])))
                wins += sum(scores[test] > scores[d] for d in domains if d != test)
            assert table["accuracy"][i][j] == pytest.approx(wins / 20)
    assert table["rows"] == table["columns"] == ["academy", "business", "literature", "entertainment"]
    assert results["sweep"][0]["views"]["business"]["academy"] == pytest.approx(table["accuracy"][1][0])


@pytest.mark.slow
def test_every_judge_on_pairs_of_ones_own(run, tmp_path):
    judge, classifier = tmp_path / "judge", tmp_path / "classifier"
    judge_model(max_position_embeddings=512).save_pretrained(judge)
    config = judge_model().config
    config.num_labels = 1
    AutoModelForSequenceClassification.from_config(config).save_pretrained(classifier)
    for folder in (judge, classifier):
        word_tokenizer().save_pretrained(folder)
    rows = [
        {"prompt": f"q{n}", "chosen": f"yes {n}", "rejected": ["no", f"{n}"], "source": "ab"[n % 2]} for n in range(4)
    ]
    rows.append({"prompt": "q", "chosen": "y" * 700, "rejected": "n", "source": "a"})
    names = ["endorm", "generative_verifier", "pointwise_judge", "pairwise_judge", f"trained_reward={classifier}"]
    names.append("implicit_reward")
    flags = ("--data", write(tmp_path / "pairs.jsonl", rows), "--group", "source", "--reference", judge)
    results = run("pairs", "--model", judge, *flags, "--judge", *names)
    judges = results["judges"]
    assert [name for name in names if name not in judges] == []
    for name in names:
        counts = judges[name]["counts"]
        assert counts["comparisons"] == 9
        if name == "pointwise_judge":  # a random model writes no marks
            assert counts["not_scored"] == 9
            assert judges[name]["facts"]["unparsable"] == judges[name]["facts"]["asked"]
        elif name.startswith("trained"):
            assert counts["not_scored"] == 0
        else:
            assert counts["not_scored"] == 1
            assert any("not scored" in note for note in judges[name]["notes"])
    assert judges["implicit_reward"]["counts"]["tied"] == 8  # policy and reference are one model
    assert 0 <= judges["pairwise_judge"]["facts"]["position_bias"] <= 1
    only = (*flags, "--judge", "generative_verifier", "--too_long", "cut")
    cut = run("pairs", "--model", judge, *only)
    assert cut["judges"]["generative_verifier"]["counts"]["not_scored"] == 0
    (tmp_path / "own.txt").write_text("{prompt} {response} fine? Yes or No:")
    own = run("pairs", "--model", judge, *only, "--template", f"generative_verifier={tmp_path}/own.txt")
    assert own["judges"]["generative_verifier"]["length_correlation"] != pytest.approx(
        cut["judges"]["generative_verifier"]["length_correlation"]
    )


def test_a_known_layout_and_the_flag_that_chooses_its_verdict(model, run, tmp_path):
    row = {"response_0": "a", "response_1": "bb", "better_response_id": 0, "safer_response_id": 1}
    data = write(tmp_path / "safe.jsonl", [{"prompt": f"q{n}"} | row for n in range(4)])
    better = run("pairs", "--model", model, "--data", data)
    safer = run("pairs", "--model", model, "--data", data, "--label_column", "safer_response_id")
    ours, theirs = (r["judges"]["endorm"]["scores"]["accuracy"]["value"] for r in (better, safer))
    assert ours + theirs == 1
    assert better["judges"]["endorm"]["notes"][0].startswith("read as SafeRLHF: prompts from 'prompt', the better one")


def test_bad_flags_name_the_fix(model, run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run("pairs", "--model", model)
    assert "--preset" in capsys.readouterr().err
    data = write(tmp_path / "pairs.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(
        ValueError, match="no column 'won'; columns found: prompt, .* Name another one by --chosen_column"
    ):
        run("pairs", "--model", model, "--data", data, "--chosen_column", "won")
    with pytest.raises(ValueError, match="Unknown judge 'jury'; known: endorm"):
        run("pairs", "--model", model, "--data", data, "--judge", "jury")
    with pytest.raises(ValueError, match="--reference"):
        run("pairs", "--model", model, "--data", data, "--judge", "implicit_reward")


def test_every_command_explains_itself_and_one_is_needed(script, capsys):
    for benchmark in ("rm_bench", "dsp", "pairs"):
        with pytest.raises(SystemExit) as end:
            script.main([benchmark, "--help"])
        assert end.value.code == 0
        assert "--sweep" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        script.main([])
    assert "rm_bench|dsp|pairs" in capsys.readouterr().err
