"""The judges on real data: samples, stages that are not run twice, tables, and the comparison with one-at-a-time."""

import json

import bf16_error
import numpy as np
import pytest
from score_parity import bucket_of, chunks_of, load_reference, ratio, read_chunks
from tiny_models import ROOT, judge_model, word_tokenizer

from rewards import EndoRM
from rewards.preferences.comparisons import Comparisons, Group
from scripts import load_script

RESULTS = ROOT / "scripts/experiments/real_judging/results"
KINDS = ("academy", "business", "entertainment", "literature", "normal")


@pytest.fixture(scope="module")
def script():
    return load_script("judge_real")


@pytest.fixture(scope="module")
def report():
    return load_script("real_judging_report")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("judge")
    judge_model(max_position_embeddings=512).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def data(tmp_path):
    """Files of RM-Bench and DSP, as the flags that name them."""
    rng = np.random.default_rng(0)

    def text() -> str:
        return " ".join(rng.choice(["yes", "no", "fine", "a", "b", "1", "2"], size=rng.integers(1, 6)))

    domains = ["chat"] * 4 + ["code"] * 3 + ["safety-refuse", "safety-response"] * 2
    rows = [
        {"id": n, "prompt": f"q {n}", "domain": domain} | {side: [text() for _ in "123"] for side in SIDES}
        for n, domain in enumerate(domains)
    ]
    queries = [{"id": n, "query": f"q {n}", "responses": {kind: text() for kind in KINDS}} for n in range(4)]
    flags = []
    for name, lines in (("rm_bench", rows), ("dsp", queries)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        flags += [f"--{name}", str(tmp_path / f"{name}.jsonl")]
    return flags


SIDES = ("chosen", "rejected")


@pytest.fixture
def stages(script, monkeypatch):
    """The stages in this process: a list of those that were run."""
    ran = []

    def run_stage(command, log):
        ran.append(command[command.index("--output") + 1].rsplit("/", 1)[1])
        load_script(command[1].rsplit("/", 1)[1].removesuffix(".py")).main(command[2:])

    monkeypatch.setattr(script, "run_stage", run_stage)
    monkeypatch.chdir(ROOT)
    return ran


def test_a_sample_is_in_the_order_of_its_rows_and_part_of_a_larger_one(script):
    rows = list(range(50))
    small, large = (script.sample(rows, n, seed=3) for n in (5, 20))
    assert small == sorted(small)
    assert (len(small), len(large), set(small) - set(large)) == (5, 20, set())
    assert script.sample(rows, 5, seed=4) != small
    assert script.sample(rows, 0, seed=3) == script.sample(rows, 60, seed=3) == rows


@pytest.mark.slow
def test_all_stages_then_none_again_and_other_rows_are_another_stage(script, stages, model, data, tmp_path):
    output = tmp_path / "out"
    flags = [*data, "--model", model, "--output", str(output), "--draws", "20", "--limit", "3"]
    script.main(flags)
    assert stages == list(script.STAGES)
    found = script.read(output)
    assert {name: stage["asked"]["rows"] for name, stage in found.items()} == dict.fromkeys(script.STAGES, 3)
    page = (output / "results.md").read_text()
    for part in ("RM-Bench code", "verifier, same model", "pairwise judge", "### DSP", "### The published script"):
        assert part in page
    assert (output / "settings.png").read_bytes().startswith(b"\x89PNG")
    for name in ("chat", "safety_plain", "dsp"):
        assert len(found[name]["sweep"]) == 4 * 2 * 2 * 2 * 2
        assert all(len(stage["commit"]) >= 40 for stage in found.values())
    assert found["parity"]["all"]["responses"] == 18
    assert found["parity"]["all"]["largest_difference_nats"] < 1e-3
    assert found["parity"]["decided_alike"] == found["parity"]["comparisons"] == 27
    script.main(flags)
    assert stages == list(script.STAGES)
    script.main([*flags, "--seed", "1", "--stages", "parity", "code"])
    assert stages[len(script.STAGES) :] == ["parity", "code"]


@pytest.mark.slow
def test_the_setting_of_the_published_script_among_those_swept_has_its_scores(script, stages, model, data, tmp_path):
    output = tmp_path / "out"
    script.main([*data, "--model", model, "--output", str(output), "--stages", "chat_plain", "parity", "--draws", "9"])
    found = script.read(output)
    lines = [json.loads(line) for line in (output / "parity/chunks.jsonl").read_text().splitlines()[1:]]
    rows = [json.loads(line) for line in (output / "data/chat.jsonl").read_text().splitlines()]
    rm = EndoRM.from_pretrained(model, device="cpu", discount=0.95, append_eos=False)
    for line in lines:
        for (g, r), ours, theirs in zip(line["places"], line["ours"]["scores"], line["one at a time"]["scores"]):
            text = (rows[g]["chosen"] + rows[g]["rejected"])[r]
            assert [ours, theirs] == pytest.approx(rm.score([rows[g]["prompt"]], [text]) * 2, abs=1e-4)
    report = load_script("real_judging_report")
    swept = report.row_of(found["chat_plain"]["sweep"], discount=0.95, end_token=False)
    assert swept["figure"]["value"] == pytest.approx(found["parity"]["accuracy, ours"])
    assert found["parity"]["accuracy, ours"] == found["parity"]["accuracy, one at a time"]


def test_data_without_a_domain_say_what_to_leave_out(script, stages, data, tmp_path):
    (tmp_path / "rm_bench.jsonl").write_text(
        json.dumps({"prompt": "q", "domain": "chat", "chosen": ["a"] * 3, "rejected": ["b"] * 3}) + "\n"
    )
    with pytest.raises(SystemExit, match="no rows of code: leave its stages out by --stages"):
        script.main([*data, "--output", str(tmp_path / "out"), "--stages", "code"])
    assert stages == []


@pytest.mark.parametrize(
    "low, high, bold", [(0.1, 0.3, True), (-0.3, -0.1, True), (0.0, 0.3, False), (-0.2, 0.1, False)]
)
def test_a_difference_is_bold_where_its_interval_leaves_out_zero(report, low, high, bold):
    text = report.signed({"value": (low + high) / 2, "low": low, "high": high})
    assert text.startswith("**") == text.endswith("**") == bold
    assert f"({100 * low:+.1f} to {100 * high:+.1f})" in text
    assert report.signed(dict.fromkeys(("value", "low", "high"))) == "–"


def test_chunks_hold_every_response_once_and_one_bucket_each():
    lengths = np.random.default_rng(0).integers(1, 700, size=200).tolist()
    chunks = chunks_of(lengths, 12)
    assert sorted(i for chunk in chunks for i in chunk) == list(range(200))
    assert max(map(len, chunks)) == 12
    assert all(len({bucket_of(lengths[i]) for i in chunk}) == 1 for chunk in chunks)
    assert [bucket_of(n) for n in (1, 64, 65, 512, 513)] == [
        "1 to 64",
        "1 to 64",
        "65 to 128",
        "257 to 512",
        "over 512",
    ]


def test_chunks_survive_a_kill_and_other_settings_are_refused(tmp_path):
    record = tmp_path / "chunks.jsonl"
    assert read_chunks(record, {"model": "m"}) == []
    with record.open("a") as file:
        file.write('{"tokens": 3}\n{"tok')
    assert read_chunks(record, {"model": "m"}) == [{"tokens": 3}]
    assert record.read_text() == '{"model": "m"}\n{"tokens": 3}\n'
    with pytest.raises(SystemExit, match="name another --output, or delete it"):
        read_chunks(record, {"model": "other"})


def test_the_ratio_of_seconds_is_that_of_the_totals():
    rows = [
        {"ours": {"seconds": s}, "one at a time": {"seconds": 2 * s + e}} for s, e in ((1, 0.1), (3, 0), (2, -0.1))
    ]
    found = ratio(rows, "seconds")
    assert found["value"] == pytest.approx(2.0)
    assert found["low"] < 2 < found["high"]


@pytest.mark.parametrize("name", ["chat", "chat_plain"])
def test_the_committed_results_on_chat_are_complete_and_above_length_at_the_published_discount(name, script, report):
    stage = script.read(RESULTS)[name]
    assert stage["asked"]["rows"] == 129
    assert stage["judges"]["endorm"]["counts"]["comparisons"] == 9 * 129
    assert stage["judges"]["endorm"]["counts"]["not_scored"] == 0
    assert report.apart(report.row_of(stage["sweep"], discount=0.95)["above_length"])


def test_the_committed_scores_are_those_of_the_published_script(script):
    stage = script.read(RESULTS)["parity"]
    assert (stage["way"], stage["all"]["responses"]) == ("the given script", 774)
    assert stage["all"]["largest_difference_nats"] < 1e-3
    assert sum(part["responses"] for part in stage["buckets"].values()) == 774


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_name_no_path_of_a_machine(path):
    words = json.dumps(json.loads(path.read_text(encoding="utf-8"))).replace('"', " ").replace("=", " ").split()
    assert not [word for word in words if word.startswith(("/", "~"))]


def test_a_script_without_the_function_says_what_is_wanted(tmp_path):
    (tmp_path / "other.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="other.py has no function seed_reward.*write one"):
        load_reference(tmp_path / "other.py")
    for name in ("absent.py", "text.txt"):
        with pytest.raises(ValueError, match=f"{name} is no Python file"):
            load_reference(tmp_path / name)


def test_a_script_is_loaded_by_its_path(tmp_path):
    (tmp_path / "lengths.py").write_text("def seed_reward(model, tokenizer, prompt, response, **_):\n    return 3.0\n")
    assert load_reference(tmp_path / "lengths.py")(None, None, "p", "r") == 3.0


@pytest.mark.slow
def test_what_bfloat16_changes(model, data, tmp_path):
    output = tmp_path / "new" / "error.json"
    bf16_error.main(["--model", model, "--data", data[1], "--limit", "4", "--output", str(output)])
    result = json.loads(output.read_text())
    assert result["groups"] == 4
    assert [(row["way"], row["discount"]) for row in result["rows"]] == [
        (way, discount) for way in ("bf16_autocast", "bf16_weights") for discount in (1.0, 0.95)
    ]
    assert all(0 < row["mean_nats"] <= row["largest_nats"] < 1.0 for row in result["rows"])


def test_sides_that_change_by_hand():
    groups = [Group("0", "p", ["a", "b", "c"]), Group("1", "q", ["d", "e"])]
    comparisons = Comparisons.build(groups, [(0, 0, 1), (0, 1, 2), (1, 0, 1)], [], [])
    exact, given = np.array([3.0, 2.0, 1.0, 5.0, 4.0]), np.array([1.5, 2.0, 1.0, 5.0, 4.5])
    found = bf16_error.compared(comparisons, exact, given)
    assert (found["largest_nats"], found["mean_nats"]) == (1.5, 0.4)
    assert (found["changed_side"], found["accuracy_exact"], found["accuracy"]) == pytest.approx((1 / 3, 1, 2 / 3))
