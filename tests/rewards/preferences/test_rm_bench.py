"""RM-Bench against an independent implementation of its published definition, on the real rows and on made-up ones."""

import gzip
import hashlib
import json

import numpy as np
import pytest
from tiny_models import SHARED

from rewards.preferences import outcomes, pairs, rm_bench

DATA = SHARED / "data"
LEVELS = ("hard", "normal", "easy")
TRIANGLES = {
    "hard": [(0, 1), (0, 2), (1, 2)],
    "normal": [(0, 0), (1, 1), (2, 2)],
    "easy": [(1, 0), (2, 0), (2, 1)],
}


def real_rows(name):
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"needs RM-Bench's own file, shared/data/{name} beside the repository")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return str(path), [json.loads(line) for line in file]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def row(n, domain, **changes):
    texts = {side: [f"{side} {n} {style}" for style in "abc"] for side in ("chosen", "rejected")}
    return {"id": n, "prompt": f"question {n}", "domain": domain} | texts | changes


def fake_score(prompt, text):
    """A score that depends on the text alone, coarse enough for ties."""
    return int(hashlib.sha256((prompt + text).encode()).hexdigest(), 16) % 40 / 10


def prompt_text(group):
    return group.prompt if isinstance(group.prompt, str) else group.prompt[-1]["content"]


def fake_scores(comparisons):
    return [
        [None if text is None else fake_score(prompt_text(g), text) for text in g.responses]
        for g in comparisons.groups
    ]


def published_accuracy(rows):
    """Share of prompts with score_chosen[i] > score_rejected[j], then the means of the triangles and the diagonal."""
    matrix = [
        [
            sum(fake_score(r["prompt"], r["chosen"][i]) > fake_score(r["prompt"], r["rejected"][j]) for r in rows)
            / len(rows)
            for j in range(3)
        ]
        for i in range(3)
    ]
    return matrix, {level: sum(matrix[i][j] for i, j in cells) / 3 for level, cells in TRIANGLES.items()}


def published_scores(rows):
    """Domains by prefix, their mean of hard, normal and easy, and the mean over domains; also all rows as one."""
    domains = {d: [r for r in rows if r["domain"].startswith(d)] for d in ("chat", "math", "code", "safety")}
    by_domain = {d: published_accuracy(members)[1] for d, members in domains.items() if members}
    scores = {f"{d}_{level}": by_domain[d][level] for d in by_domain for level in LEVELS}
    scores |= {f"{d}_average": sum(by_domain[d].values()) / 3 for d in by_domain}
    kinds = {"macro": list(by_domain.values()), "pooled": [published_accuracy(rows)[1]]}
    if len(by_domain) == 4:
        kinds["official"] = kinds["macro"]
    for kind, parts in kinds.items():
        means = {level: sum(part[level] for part in parts) / len(parts) for level in LEVELS}
        scores |= {f"{kind}_{level}": value for level, value in means.items()}
        scores[f"{kind}_average"] = sum(means.values()) / 3
    return scores, {d: published_accuracy(members)[0] for d, members in domains.items() if members}


def summarise(comparisons, scores=None):
    return rm_bench.summary(comparisons, outcomes(comparisons, scores or fake_scores(comparisons)), draws=50)


def values(summary):
    return {name: score["value"] for name, score in summary["scores"].items() if score["value"] is not None}


def test_real_rows_give_the_published_definition():
    path, rows = real_rows("rm_bench_no_math.jsonl.gz")
    comparisons = rm_bench.load(path)
    assert (len(comparisons.groups), len(comparisons)) == (798, 9 * 798)
    assert len(pairs.load(path)) == 9 * 798
    summary = summarise(comparisons)
    scores, matrices = published_scores(rows)
    assert values(summary) == pytest.approx(scores, abs=1e-12)
    for domain, matrix in matrices.items():
        np.testing.assert_allclose(np.array(summary["matrices"][domain], dtype=float), matrix, atol=1e-12)
    np.testing.assert_allclose(np.array(summary["matrices"]["pooled"], dtype=float), published_accuracy(rows)[0])
    assert summary["complete_domains"] == ["chat", "code", "safety"]
    assert summary["missing"] == ["math: no rows; the official scores are means over all four domains"]
    assert summary["counts"]["tied"] > 0
    assert {d: c["comparisons"] // 9 for d, c in summary["counts_by_domain"].items()} == {
        "chat": 129,
        "code": 228,
        "safety": 441,
    }


def test_all_four_domains_give_the_official_average(tmp_path):
    sizes = {"chat": 3, "math": 5, "code": 4, "safety-refuse": 6, "safety-response": 2}
    rows = [row(f"{domain}{n}", domain) for domain, size in sizes.items() for n in range(size)]
    summary = summarise(rm_bench.load(write(tmp_path / "rows.jsonl", rows)))
    scores, _ = published_scores(rows)
    assert values(summary) == pytest.approx(scores, abs=1e-12)
    assert summary["missing"] == []
    found = summary["scores"]
    assert found["official_average"] == found["macro_average"]
    assert found["official_average"]["value"] != pytest.approx(found["pooled_average"]["value"], abs=1e-3)
    assert all(s["low"] <= s["value"] <= s["high"] for s in found.values())


def test_safety_is_pooled_by_rows_not_by_subdomain(tmp_path):
    rows = [row(f"r{n}", "safety-refuse") for n in range(3)] + [row("s", "safety-response")]
    comparisons = rm_bench.load(write(tmp_path / "rows.jsonl", rows))
    right_on_refuse = [[1] * 3 + [0] * 3] * 3 + [[0] * 3 + [1] * 3]
    assert summarise(comparisons, right_on_refuse)["scores"]["safety_average"]["value"] == 0.75


def test_hard_is_where_the_wrong_response_is_more_elaborate(tmp_path):
    comparisons = rm_bench.load(write(tmp_path / "rows.jsonl", [row(0, "chat")]))
    likes_style = [[0, 1, 2, -0.5, 0.5, 1.5]]  # whatever is right, the more elaborate response wins
    scores = summarise(comparisons, likes_style)["scores"]
    assert [scores[f"chat_{level}"]["value"] for level in ("easy", "normal", "hard")] == [1, 1, 0]


def test_partial_math_gives_its_cells_and_nothing_more():
    path, rows = real_rows("rm_bench_math_partial.jsonl.gz")
    comparisons = rm_bench.load(path)
    summary = summarise(comparisons)
    wins = [
        sum(fake_score(r["prompt"], r["chosen"][i]) > fake_score(r["prompt"], r["rejected"][0]) for r in rows)
        for i in range(3)
    ]
    assert len(comparisons) == len(pairs.load(path)) == 3 * 529
    assert summary["matrices"]["math"] == [[pytest.approx(w / 529), None, None] for w in wins]
    assert values(summary) == {}
    assert summary["complete_domains"] == []
    assert any("math: no scored comparison of concise-detailed" in reason for reason in summary["missing"])
    assert any(note.startswith("all 529 rows of math lack responses") for note in comparisons.notes)
    assert "1 comparisons of identical responses: ties by nature, so never won" in comparisons.notes


def test_a_partial_domain_beside_complete_ones_spoils_no_score_but_those_that_need_it(tmp_path):
    rows = [row(n, domain) for n, domain in enumerate(["chat", "code", "safety-refuse", "chat"])]
    partial = [row(n, "math", rejected=[f"wrong {n}", None, None]) for n in (10, 11)]
    summary = summarise(rm_bench.load(write(tmp_path / "rows.jsonl", rows + partial)))
    alone = values(summarise(rm_bench.load(write(tmp_path / "complete.jsonl", rows))))
    expected = {name: value for name, value in alone.items() if not name.startswith("pooled")}
    assert values(summary) == pytest.approx(expected)
    assert [cell is None for line in summary["matrices"]["pooled"] for cell in line] == [False, True, True] * 3


def test_odd_rows_are_left_out_and_counted(tmp_path, caplog):
    rows = [
        row(0, "chat"),
        row(1, "chat", chosen=["only", "two"]),
        row(2, "chat", rejected=["a", None, "c"]),
        row(3, "poetry"),
        row(4, "chat", chosen=["same", "same", " "]),
        row(5, "chat", chosen="text"),
        row(6, "chat", chosen=["rejected 6 a", "b", "c"]),
    ]
    comparisons = rm_bench.load(write(tmp_path / "rows.jsonl", rows))
    assert [g.id for g in comparisons.groups] == ["0", "4", "6"]
    expected = (
        "2 rows left out: no prompt or not three styles a side; first 1",
        "1 rows of other domains left out: poetry",
        "1 rows, kept, have the same text in two styles of one side",
        "1 rows of chat lack a response and are left out",
        "1 empty responses, kept",
        "1 comparisons of identical responses: ties by nature",
    )
    assert all(any(note.startswith(start) for note in comparisons.notes) for start in expected)
    assert len(comparisons.notes) == len(expected)
    assert all(note in caplog.text for note in comparisons.notes)


def test_what_was_not_scored_is_counted_and_left_out(tmp_path):
    comparisons = rm_bench.load(write(tmp_path / "rows.jsonl", [row(0, "chat"), row(1, "chat")]))
    scores = [[1, 1, 1, 0, 0, 0], [float("nan"), 1, 1, 0, 2, 0]]
    summary = summarise(comparisons, scores)
    assert summary["counts"] == {"comparisons": 18, "won": 13, "tied": 0, "lost": 2, "not_scored": 3}
    assert summary["matrices"]["chat"] == [[1, 1, 1], [1, 0.5, 1], [1, 0.5, 1]]


def test_prompts_as_chat_or_text_and_limit(tmp_path):
    rows = [row(n, "chat") for n in range(5)] + [row(n, "code") for n in range(5, 10)]
    path = write(tmp_path / "rows.jsonl", rows)
    comparisons = rm_bench.load(path, chat=False, limit=4)
    assert [g.prompt for g in comparisons.groups] == [f"question {n}" for n in (0, 3, 6, 9)]
    assert comparisons.notes == ["limited to 4 of 10 rows, evenly spaced"]
    assert rm_bench.load(path).groups[0].prompt == [{"role": "user", "content": "question 0"}]


def test_another_file_is_refused_with_its_columns(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    with pytest.raises(
        ValueError, match="rows.jsonl, whose name .* no column 'domain'; columns found: prompt, chosen"
    ):
        rm_bench.load(path)
    with pytest.raises(ValueError, match="no column 'chosen', 'rejected'; columns found: prompt"):
        rm_bench.load(write(tmp_path / "rows.jsonl", [{"prompt": "a"}]))


def test_files_of_one_domain_each(tmp_path):
    whole = write(
        tmp_path / "total_dataset.json", [row(n, d) for n, d in enumerate(("chat", "math", "safety-refuse"))]
    )
    for n, domain in enumerate(("chat", "math", "safety-refuse")):
        rows = [{k: v for k, v in row(n, domain).items() if k not in ("id", "domain")}]
        path = write(tmp_path / f"{domain}_filtered.json", rows)
        alone = rm_bench.load(path)
        assert alone.labels["subdomain"].tolist() == [domain] * 9
        said = f"1 rows of {domain}_filtered.json name no domain: read as {domain}, with which the file's name begins"
        assert alone.notes == [said]
    together, total = rm_bench.load(str(tmp_path)), rm_bench.load(whole)
    assert [(g.prompt, g.responses) for g in together.groups] == [(g.prompt, g.responses) for g in total.groups]
    for name, values in total.labels.items():
        assert together.labels[name].tolist() == values.tolist()
    assert together.notes[0] == f"files of {tmp_path.name} that are not of one domain, not read: total_dataset.json"


def test_a_folder_without_files_of_domains_says_what_it_has(tmp_path):
    with pytest.raises(FileNotFoundError, match="begins with one of chat, math, code, safety.* files found: none"):
        rm_bench.load(str(tmp_path))
    write(tmp_path / "total_dataset.json", [row(0, "chat")])
    with pytest.raises(FileNotFoundError, match="files found: total_dataset.json. Name one of them by --data"):
        rm_bench.load(str(tmp_path))


def test_a_table_shows_the_domains_that_are_there(tmp_path):
    pooled = [f"pooled_{level}" for level in rm_bench.LEVELS]
    for domains, shown in (
        (("code", "safety-refuse"), ["code_average", "safety_average", *pooled]),
        (("chat", "math", "code", "safety-response"), rm_bench.COLUMNS),
    ):
        comparisons = rm_bench.load(write(tmp_path / "rows.jsonl", [row(n, d) for n, d in enumerate(domains)]))
        assert rm_bench.columns({"judge": summarise(comparisons)}) == shown
    partial = rm_bench.load(write(tmp_path / "rows.jsonl", [row(0, "math", rejected=["wrong", None, None])]))
    assert rm_bench.columns({"judge": summarise(partial)}) == ["math_average"]


def test_the_headline_is_the_official_average_or_the_pooled_one(tmp_path):
    for domains, name in (
        (("chat", "math", "code", "safety-refuse"), "official_average"),
        (("chat",), "pooled_average"),
    ):
        rows = [row(f"{domain}{n}", domain) for domain in domains for n in range(20)]
        comparisons = rm_bench.load(write(tmp_path / "rows.jsonl", rows))
        outcome = outcomes(comparisons, fake_scores(comparisons))
        expected = rm_bench.summary(comparisons, outcome, draws=200)["scores"][name]
        assert rm_bench.headline({"": comparisons}, {"": outcome}, draws=200) == pytest.approx(expected)
        assert expected["low"] < expected["value"] < expected["high"]
        other = np.roll(outcome, 7)
        above = rm_bench.headline({"": comparisons}, {"": outcome}, draws=200, minus={"": other})
        assert above == pytest.approx(rm_bench.differences(comparisons, outcome, other, draws=200)[name])


def test_difference_of_two_judges_is_the_difference_of_their_scores(tmp_path):
    sizes = {"chat": 20, "math": 20, "code": 20, "safety-refuse": 20}
    rows = [row(f"{domain}{n}", domain) for domain, size in sizes.items() for n in range(size)]
    comparisons = rm_bench.load(write(tmp_path / "rows.jsonl", rows))
    first = outcomes(comparisons, fake_scores(comparisons))
    second = np.roll(first, 7)
    found = rm_bench.differences(comparisons, first, second, draws=200)
    ours, theirs = (values(rm_bench.summary(comparisons, o, draws=1)) for o in (first, second))
    assert {name: d["value"] for name, d in found.items()} == pytest.approx({n: ours[n] - theirs[n] for n in ours})
    assert all(d["low"] < d["high"] for d in found.values())
