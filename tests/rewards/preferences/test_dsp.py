"""DSP: the official pairing with its counts and ties, the scores by a plain loop, and the table of system prompts."""

import gzip
import json
import zlib

import numpy as np
import pytest
from tiny_models import SHARED

from rewards.preferences import dsp, floors, outcomes, with_system

DATA = SHARED / "data" / "dsp_test.jsonl.gz"
KINDS = ("academy", "business", "literature", "entertainment", "normal")


@pytest.fixture(scope="module")
def real():
    if not DATA.is_file():
        pytest.skip(f"needs the data set's own file, shared/data/{DATA.name} beside the repository")
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        return dsp.load(str(DATA)), [json.loads(line) for line in file]


def write(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")  # one array, as the published file is
    return str(path)


def made_up(n, **changes):
    return {
        "query": f"query {n}",
        "responses": {kind: f"{kind} {n} " + "x" * k for k, kind in enumerate(KINDS)},
    } | changes


def score(text):
    return zlib.crc32(text.encode()) / 1e9


def test_real_rows_give_the_official_pairs_and_ties(real):
    comparisons, rows = real
    outcome = outcomes(comparisons, [[score(text) for text in g.responses] for g in comparisons.groups])
    summary = dsp.summary(comparisons, outcome, draws=10)
    counts = summary["counts_by_domain"]
    assert {domain: c["comparisons"] for domain, c in counts.items()} == dict.fromkeys(dsp.DOMAINS, 2644)
    ties = {"academy": 44, "business": 43, "literature": 28, "entertainment": 29}
    assert {domain: c["tied"] for domain, c in counts.items()} == ties
    assert any(note.startswith("1 empty responses, kept") for note in comparisons.notes)

    for domain in dsp.DOMAINS:
        pairs = [
            (r["responses"][domain], r["responses"][other], other) for r in rows for other in KINDS if other != domain
        ]
        chosen = {
            "": pairs,
            "_without_normal": [pair for pair in pairs if pair[2] != "normal"],
            "_length_matched": [pair for pair in pairs if max(map(len, pair[:2])) <= 1.25 * min(map(len, pair[:2]))],
        }
        for variant, part in chosen.items():
            wins = sum(score(ours) > score(theirs) for ours, theirs, _ in part)
            assert summary["scores"][domain + variant]["value"] == pytest.approx(wins / len(part))
        assert summary["length_matched"][domain] == len(chosen["_length_matched"])
    means = [summary["scores"][domain]["value"] for domain in dsp.DOMAINS]
    assert summary["scores"]["average"]["value"] == pytest.approx(np.mean(means))


def test_length_is_the_confound_that_leaving_normal_out_removes(real):
    comparisons, _ = real
    found = floors(comparisons)
    name = next(iter(found))
    scores = dsp.summary(comparisons, found[name], draws=10)["scores"]
    assert name == "length only (longer wins)"
    assert scores["average"]["value"] > 0.57
    assert scores["average_without_normal"]["value"] < 0.5


def test_rows_without_five_responses_are_left_out_and_counted(tmp_path):
    four = made_up(1)
    del four["responses"]["normal"]
    rows = [made_up(0), four, made_up(2, query=None), made_up(3, responses="text")]
    comparisons = dsp.load(write(tmp_path / "rows.json", rows))
    assert [g.id for g in comparisons.groups] == ["0"]
    assert len(comparisons) == 16
    assert comparisons.notes == ["3 rows without a query and five responses left out"]
    with pytest.raises(ValueError, match="no column 'query'; columns found: responses"):
        dsp.load(write(tmp_path / "bad.json", [{"responses": {}}]))


def test_table_has_a_row_per_system_prompt_and_names_the_winners(tmp_path):
    comparisons = dsp.load(write(tmp_path / "rows.json", [made_up(n) for n in range(4)]))
    summaries = {}
    for k, domain in enumerate(dsp.DOMAINS):
        scores = np.arange(5.0) / 10
        scores[k] = 1  # the domain asked for comes first
        summaries[domain] = dsp.summary(comparisons, outcomes(comparisons, [scores.tolist()] * 4), draws=10)
    table = dsp.table(summaries)
    assert table["rows"] == table["columns"] == table["winners"] == list(dsp.DOMAINS)
    assert table["diagonal_wins"] == 4
    assert table["accuracy"][0] == [1, 0, 0.25, 0.5]  # under "academy": academy, then the later the better
    assert dsp.table(summaries, "_without_normal")["accuracy"][0] == pytest.approx([1, 0, 1 / 3, 2 / 3])

    same = dict.fromkeys(dsp.DOMAINS, summaries["academy"])
    table = dsp.table(same)
    assert table["winners"] == [None] * 4
    assert table["diagonal_wins"] == 0


def test_length_matching_follows_the_ratio_and_the_lengths_given(tmp_path):
    comparisons = dsp.load(write(tmp_path / "rows.json", [made_up(0)]))
    outcome = np.ones(len(comparisons))
    lengths = [[10, 12, 15, 40, 100]]
    summary = dsp.summary(comparisons, outcome, max_length_ratio=1.25, lengths=lengths, draws=5)
    assert summary["length_matched"] == {"academy": 1, "business": 2, "literature": 1, "entertainment": 0}
    assert summary["scores"]["entertainment_length_matched"] == {"value": None, "low": None, "high": None}
    with pytest.raises(ValueError, match="max_length_ratio is 0.8"):
        dsp.summary(comparisons, outcome, max_length_ratio=0.8)


def test_system_prompts_come_from_files_and_go_into_the_prompts(tmp_path):
    prompts = dsp.system_prompts()
    assert list(prompts) == list(dsp.DOMAINS)
    assert len(set(prompts.values())) == 4
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(FileNotFoundError, match="dsp_academy.txt"):
        dsp.system_prompts(own)
    for domain in dsp.DOMAINS:
        (own / f"dsp_{domain}.txt").write_text(f"Be {domain}.\n", encoding="utf-8")
    assert dsp.system_prompts(own)["business"] == "Be business."

    path = write(tmp_path / "rows.json", [made_up(0)])
    asked = with_system(dsp.load(path), "Be brief.")
    system = {"role": "system", "content": "Be brief."}
    assert asked.groups[0].prompt == [system, {"role": "user", "content": "query 0"}]
    assert with_system(asked, "Be long.").groups[0].prompt[0]["content"] == "Be long."
    assert len(with_system(asked, "Be long.").groups[0].prompt) == 2
    assert with_system(dsp.load(path, chat=False), "Be brief.").groups[0].prompt == "Be brief.\n\nquery 0"


def test_the_headline_is_the_mean_of_the_diagonal_with_a_joint_interval(tmp_path):
    comparisons = dsp.load(write(tmp_path / "rows.json", [made_up(n) for n in range(30)]))
    views = dict.fromkeys(dsp.DOMAINS, comparisons)
    rng = np.random.default_rng(0)
    outcome = {domain: rng.integers(0, 2, len(comparisons)).astype(float) for domain in dsp.DOMAINS}
    own = [dsp.summary(comparisons, outcome[domain], draws=1)["scores"][domain]["value"] for domain in dsp.DOMAINS]
    found = dsp.headline(views, outcome, draws=4000)
    assert found["value"] == pytest.approx(np.mean(own))

    labels = comparisons.labels["domain"]
    won = np.array(
        [[outcome[d][(labels == d) & (comparisons.group == g)].mean() for d in dsp.DOMAINS] for g in range(30)]
    )
    draws = [won[rng.integers(0, 30, 30)].mean() for _ in range(4000)]
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.006)


def test_steering_is_the_diagonal_less_the_other_cells_and_nothing_for_a_judge_that_reads_no_prompt(tmp_path):
    comparisons = dsp.load(write(tmp_path / "rows.json", [made_up(n) for n in range(30)]))
    views = dict.fromkeys(dsp.DOMAINS, comparisons)
    rng = np.random.default_rng(0)
    outcome = {domain: rng.integers(0, 2, len(comparisons)).astype(float) for domain in dsp.DOMAINS}
    cells = np.array(
        [[outcome[p][comparisons.labels["domain"] == d].mean() for d in dsp.DOMAINS] for p in dsp.DOMAINS]
    )
    off = cells[~np.eye(4, dtype=bool)]
    found = dsp.steering(views, outcome, draws=500)
    assert found["value"] == pytest.approx(np.diag(cells).mean() - off.mean())
    assert found["low"] < found["value"] < found["high"]
    deaf = dsp.steering(views, dict.fromkeys(dsp.DOMAINS, outcome["academy"]), draws=50)
    assert [deaf[k] for k in ("value", "low", "high")] == pytest.approx([0, 0, 0])


def test_a_headline_less_another_judges_is_the_difference_of_both_on_what_both_have_scored(tmp_path):
    comparisons = dsp.load(write(tmp_path / "rows.json", [made_up(n) for n in range(30)]))
    views = dict.fromkeys(dsp.DOMAINS, comparisons)
    rng = np.random.default_rng(1)
    ours, theirs = (
        {domain: rng.integers(0, 2, len(comparisons)).astype(float) for domain in dsp.DOMAINS} for _ in range(2)
    )
    ours["academy"][:40] = np.nan
    masked = {domain: np.where(np.isnan(ours[domain]), np.nan, theirs[domain]) for domain in dsp.DOMAINS}
    found = dsp.headline(views, ours, draws=200, minus=theirs)
    apart = [dsp.headline(views, outcome, draws=1)["value"] for outcome in (ours, masked)]
    assert found["value"] == pytest.approx(apart[0] - apart[1])
    same = dsp.headline(views, ours, draws=200, minus=ours)
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
