"""The batches of the frozen base: all rows, within the budget, at the least cost that any division has."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_model

from rewards import FrozenBase
from rewards.frozen.batching import FORWARD_TOKENS, alike, batches_by_prefix, batches_by_tokens, plan_batches
from rewards.frozen.frozen_base import CPU_PROGRESS_TOKENS
from rewards.frozen.score_cache import ScoreCache


def cost(sizes, lengths, budget, forward_tokens):
    """Of dividing lengths, longest first, into batches of these sizes; None if one is beyond the budget."""
    total, first = 0, 0
    for size in sizes:
        tokens = size * lengths[first]
        if size > 1 and tokens > budget:
            return None
        total, first = total + tokens + forward_tokens, first + size
    return total


def divisions(n):
    """All ways to write n as a sum of positive integers, order counted."""
    return [[]] if n == 0 else [[k, *rest] for k in range(1, n + 1) for rest in divisions(n - k)]


@pytest.mark.parametrize("forward_tokens", [0, 7, 30, 1000])
@pytest.mark.parametrize("budget", [1, 40, 64, 1000])
def test_no_division_costs_less(budget, forward_tokens):
    lengths = torch.randint(1, 50, (9,), generator=torch.Generator().manual_seed(budget + forward_tokens)).tolist()
    batches = batches_by_tokens(lengths, budget, forward_tokens)
    found = [lengths[i] for batch in batches for i in batch]
    assert found == sorted(lengths, reverse=True)
    assert sorted(i for batch in batches for i in batch) == list(range(9))
    costs = [cost(sizes, found, budget, forward_tokens) for sizes in divisions(9)]
    assert cost([len(b) for b in batches], found, budget, forward_tokens) == min(c for c in costs if c is not None)


def test_no_rows_no_batches():
    assert batches_by_tokens([], 10) == []


def test_a_rollout_of_small_size_is_one_forward_and_much_padding_is_two():
    assert len(batches_by_tokens([60, 8, 30, 9, 40], 16384)) == 1
    lengths = [FORWARD_TOKENS] * 4 + [64] * 4
    assert batches_by_tokens(lengths, 16384) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(batches_by_tokens(lengths, 16384, forward_tokens=16384)) == 1


def test_scores_do_not_depend_on_the_division():
    model = tiny_model(max_position_embeddings=1024)
    draw = torch.Generator().manual_seed(0)
    prompts = [torch.randint(97, (3,), generator=draw).tolist() for _ in range(4)]
    responses = [torch.randint(97, (n,), generator=draw).tolist() for n in (700, 5, 690, 8)]
    base, alone = FrozenBase(model), FrozenBase(model, batch_tokens=1)
    for mine, single in zip(base.score(prompts, responses), alone.score(prompts, responses)):
        torch.testing.assert_close(mine.q, single.q, atol=1e-4, rtol=0)
        torch.testing.assert_close(mine.v[1.0], single.v[1.0], atol=1e-4, rtol=0)
    assert (base.forwards, alone.forwards) == (2, 4)


def test_a_cpu_gets_batches_that_stay_near_its_caches(monkeypatch):
    model = tiny_model(max_position_embeddings=1024)
    size = model.config.hidden_size
    draw = torch.Generator().manual_seed(0)
    prompts = [torch.randint(97, (3,), generator=draw).tolist() for _ in range(4)]
    responses = [torch.randint(97, (n,), generator=draw).tolist() for n in (300, 290, 280, 270)]
    whole = FrozenBase(model)
    expected = whole.score(prompts, responses)
    for states, tokens, forwards in ((620 * size, 8192, 2), (1, 8192, 4), (10**9, 8192, 1), (10**9, 700, 2)):
        monkeypatch.setattr("rewards.frozen.frozen_base.CPU_STATES", states)
        base = FrozenBase(model, batch_tokens=tokens)
        for mine, other in zip(base.score(prompts, responses), expected):
            torch.testing.assert_close(mine.q, other.q, atol=1e-4, rtol=0)
        assert base.forwards == forwards, (states, tokens)
    monkeypatch.setattr("rewards.frozen.frozen_base.CPU_STATES", 1)
    shared = FrozenBase(model)  # a prompt that is shared is not read twice to make batches smaller
    shared.score([prompts[0] * 60] * 4, [r[:100] for r in responses], share_prompts=True)
    assert shared.forwards == 1


@pytest.fixture
def bars(monkeypatch):
    """The bars that were shown, as dicts of name, total and updates."""
    shown = []

    class Bar:
        def __init__(self, total, desc, unit, disable):
            self.seen = {"name": desc, "unit": unit, "total": total, "updates": []}
            if not disable:
                shown.append(self.seen)

        def update(self, n):
            self.seen["updates"].append(n)

        __enter__, __exit__ = (lambda self: self), (lambda self, *error: None)

    for module in ("frozen_base", "score_cache"):
        monkeypatch.setattr(f"rewards.frozen.{module}.tqdm", Bar)
    return shown


def rows(responses, length=128, prompts=1):
    """Responses to each of some prompts that are too long for one batch while progress is shown."""
    assert responses * prompts * length > 2 * CPU_PROGRESS_TOKENS
    draw = torch.Generator().manual_seed(0)
    ids = [torch.randint(97, (length // 2,), generator=draw).tolist() for _ in range(prompts * (responses + 1))]
    return [p for p in ids[:prompts] for _ in range(responses)], ids[prompts:]


@pytest.mark.parametrize("share_prompts", [False, True])
def test_the_bar_counts_responses_as_they_are_done(bars, share_prompts):
    base, texts = FrozenBase(tiny_model(max_position_embeddings=1024)), rows(24)
    shown = base.score(*texts, progress=True, share_prompts=share_prompts)
    (bar,) = bars
    assert (bar["name"], bar["unit"], bar["total"]) == ("frozen base", "response", 24)
    assert sum(bar["updates"]) == 24
    assert max(bar["updates"]) <= CPU_PROGRESS_TOKENS // 64
    counts = []
    counted = base.score(*texts, progress=counts.append, share_prompts=share_prompts)
    assert counts == bar["updates"]
    for a, b, c in zip(base.score(*texts), shown, counted):
        for scores in (b, c):
            torch.testing.assert_close(a.q, scores.q, atol=1e-4, rtol=0)
            torch.testing.assert_close(a.v[1.0], scores.v[1.0], atol=1e-4, rtol=0)
    assert len(bars) == 1  # none without progress, none where the caller counts


def test_a_cache_shows_one_bar_of_its_own(bars, saved_model, tmp_path):
    base, texts = FrozenBase(tiny_model(max_position_embeddings=1024)), rows(12, prompts=2)
    cache = ScoreCache(tmp_path, saved_model)
    cache.score(lambda: base, *texts, name="endorm academy")
    (bar,) = bars
    assert (bar["name"], bar["total"], sum(bar["updates"])) == ("endorm academy", 24, 24)
    assert len(bar["updates"]) > 1
    cache.score(None, *texts)  # nothing is missing: no bar of nothing
    ScoreCache(tmp_path / "other", saved_model).score(lambda: base, *texts, progress=False)
    assert len(bars) == 1


def rows_of(draw, groups):
    """Prompts of one template, each with some responses: (prompts, responses)."""
    template = torch.randint(3, 90, (30,), generator=draw).tolist()
    prompts, responses = [], []
    for length, count in groups:
        prompt = template + torch.randint(3, 90, (length,), generator=draw).tolist()
        for _ in range(count):
            prompts.append(prompt)
            responses.append(torch.randint(3, 90, (int(torch.randint(1, 12, (1,), generator=draw)),)).tolist())
    return prompts, responses


@pytest.mark.parametrize("ways", [[], ["tree"], ["prompt"], ["tree", "prompt"]])
def test_a_plan_has_every_row_once_within_its_budget(ways):
    prompts, responses = rows_of(torch.Generator().manual_seed(0), [(5, 1), (9, 4), (150, 5), (3, 2), (90, 1)])
    plan = plan_batches(prompts, responses, ways, budget=512, forward_budget=220, hidden_size=64)
    assert sorted(i for _, rows in plan for i in rows) == list(range(len(prompts)))
    assert {way for way, _ in plan} <= {"apart", *ways}
    for way, rows in plan:
        together = [prompts[i] + responses[i] for i in rows]
        beginnings = {tuple(row[: k + 1]) for row in together for k in range(len(row))}
        if way == "tree":
            assert len(beginnings) <= min(220, 3 * 64)
            assert 1.25 * len(beginnings) < sum(map(len, together))
        if way == "prompt":
            assert len({tuple(prompts[i]) for i in rows}) == 1


def test_short_prompts_make_trees_and_a_long_one_that_a_group_shares_is_cached():
    prompts, responses = rows_of(torch.Generator().manual_seed(0), [(5, 1), (9, 4), (250, 5), (3, 2), (4, 1)])
    plan = plan_batches(prompts, responses, ["tree", "prompt"], budget=512, forward_budget=220, hidden_size=64)
    assert [(way, sorted(rows)) for way, rows in plan if way == "prompt"] == [("prompt", list(range(5, 10)))]
    assert sorted(i for way, rows in plan for i in rows if way == "tree") == [0, 1, 2, 3, 4, 10, 11, 12]


@pytest.mark.parametrize("hidden_size", [64, 256, 576, 896])
def test_of_all_ways_the_one_that_reads_least_is_taken(hidden_size):
    """One long prompt whose tree would not fit into a forward is cached, whatever the model's size."""
    draw = torch.Generator().manual_seed(0)
    prompt = torch.randint(3, 90, (512,), generator=draw).tolist()
    responses = [torch.randint(3, 90, (64,), generator=draw).tolist() for _ in range(8)]
    plan = plan_batches([prompt] * 8, responses, ["tree", "prompt"], 8192, max(256, 2**19 // hidden_size), hidden_size)
    assert [(way, sorted(rows)) for way, rows in plan] == [("prompt", list(range(8)))]


def test_rows_that_begin_in_no_way_alike_go_apart():
    rows = [[i] * 20 for i in range(3, 9)]
    assert {way for way, _ in plan_batches(rows, rows, ["tree", "prompt"], 512, 512, 64)} == {"apart"}
    assert batches_by_prefix(rows, 512, 64) == []
    assert plan_batches([], [], ["tree", "prompt"], 512, 512, 64) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"), [([1, 2, 3], [1, 2, 4], 2), ([1, 2], [1, 2, 3], 2), ([], [1], 0), ([2], [1], 0)]
)
def test_how_many_entries_begin_alike(one, other, expected):
    assert alike(np.asarray(one), np.asarray(other)) == expected
