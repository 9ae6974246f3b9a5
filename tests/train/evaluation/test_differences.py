"""Paired differences against resampling by hand and their promised coverage; what is said follows the intervals."""

import itertools

import numpy as np
import pytest
from evaluations import made_evaluation, made_run, right
from scipy.stats import binomtest

from rewards.reporting.intervals import expanded_percentiles
from train.evaluation.differences import (
    DECODINGS,
    LEAST_PROBLEMS,
    LIMITS,
    ROLES,
    collapse_signs,
    common_benchmarks,
    compare,
    conclusions,
    differences_in_settings,
    headline,
    points,
    resampled_differences,
    sentence,
    verdict,
)

ACCURACY = {"accuracy": ("avg@4", "avg@4")}


def cell(value, low, high, problems=100):
    return {"value": value, "low": low, "high": high, "problems": problems}


GAIN, LOSS, NONE, NO_INTERVAL = (
    cell(0.1, 0.02, 0.18),
    cell(-0.1, -0.2, -0.01),
    cell(0.1, -0.1, 0.3),
    cell(1, None, None),
)


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 40])
def test_intervals_of_differences_cover(n):
    rng, hits, trials = np.random.default_rng(0), 0, 600
    for trial in range(trials):
        p = rng.beta(1, 1, n)
        values = rng.binomial(4, np.clip(p + 0.1 * (0.5 - p), 0, 1)) / 4 - rng.binomial(4, p) / 4
        drawn = resampled_differences(values[:, None], [True], 500, trial)
        found = expanded_percentiles(values.mean(), drawn[:, 0], n)
        hits += found["low"] <= 0 <= found["high"]
    assert abs(hits / trials - 0.95) <= 0.025


def test_no_difference_in_few_problems_is_no_certainty():
    drawn = resampled_differences(np.zeros((30, 1)), np.array([True]), 20_000, 0)
    assert np.quantile(drawn, 0.975) == pytest.approx(1 - 0.05 ** (1 / 30), abs=0.01)
    drawn = resampled_differences(np.ones((8, 1)), np.array([True]), 20_000, 0)
    assert np.quantile(drawn, 0.025) == pytest.approx(2 * 0.025 ** (1 / 8) - 1, abs=0.01)


# ---------------------------------------------------------------------- numbers


def test_draws_are_means_of_problems_drawn_with_replacement():
    """Two figures of three problems: the draws hold every mean that three of them can have, as often as they should,
    and both figures from the same problems."""
    values = np.array([[0.25, -0.25], [0.5, -0.5], [-1.0, 1.0]])
    drawn = resampled_differences(values, np.array([True, True]), 30_000, 0)
    np.testing.assert_allclose(drawn[:, 0], -drawn[:, 1], atol=1e-12)
    all_means = np.array([values[list(rows), 0].mean() for rows in itertools.product(range(3), repeat=3)])
    for mean in np.unique(all_means.round(9)):
        share = np.isclose(all_means, mean).mean()
        assert np.isclose(drawn[:, 0], mean).mean() == pytest.approx(share, abs=4 * np.sqrt(share / 30_000))
    assert np.isclose(drawn[:, [0]], np.unique(all_means)).any(axis=1).all()


def test_tokens_are_no_share():
    """Differences of lengths may be of any size, and a length that differs by the same everywhere is certain."""
    values = np.array([[300.0, 0.0, 1.0, -1.0], [-100.0, 0.0, 1.0, -1.0]])
    drawn = resampled_differences(values, np.array([False] * 4), 1000, 0)
    assert {round(x) for x in drawn[:, 0]} == {300, 100, -100}
    np.testing.assert_allclose(drawn[:, 1:], np.tile([0.0, 1.0, -1.0], (1000, 1)), atol=1e-12)


def test_the_other_way_round_every_difference_changes_its_sign():
    one, two = (made_evaluation(right(rate, seed=seed)) for rate, seed in ((0.3, 0), (0.5, 1)))
    there, back = (compare(a, b, ACCURACY, ["amc23", "math500"], 500)["accuracy"] for a, b in ((one, two), (two, one)))
    assert list(there) == ["amc23", "math500", "average"]
    for benchmark, found in there.items():
        expected = (-found["value"], -found["high"], -found["low"])
        assert tuple(back[benchmark][k] for k in ("value", "low", "high")) == pytest.approx(expected)
    assert there["average"]["value"] == pytest.approx((there["amc23"]["value"] + there["math500"]["value"]) / 2)
    assert [found["problems"] for found in there.values()] == [40, 200, 40]


def test_problems_are_paired_by_name_and_not_by_place():
    tables = right(0.4, {"amc23": 40})
    order = np.random.default_rng(0).permutation(40)
    plain, shuffled = made_evaluation(tables), made_evaluation(tables, order=order)
    other = made_evaluation(right(0.6, {"amc23": 40}, seed=1))
    same = compare(plain, shuffled, ACCURACY, ["amc23"], 200)["accuracy"]["amc23"]
    assert same["value"] == 0
    one, two = (compare(other, e, ACCURACY, ["amc23"], 200) for e in (plain, shuffled))
    assert one == two


def test_pairing_narrows_what_problems_have_in_common():
    """Both are right on the same easy problems: unpaired, the interval is that of two independent means."""
    tables = right(0.5, {"amc23": 200}, samples=16)
    better = {b: t | (np.random.default_rng(1).random(t.shape) < 0.05) for b, t in tables.items()}
    pairs = {"accuracy": ("avg@16", "avg@16")}
    found = compare(made_evaluation(better), made_evaluation(tables), pairs, ["amc23"])["accuracy"]["amc23"]
    means = [t["amc23"].mean(axis=1) for t in (better, tables)]
    unpaired = 2 * 1.96 * np.sqrt(sum(m.var(ddof=1) for m in means) / 200)
    assert found["high"] - found["low"] < unpaired / 4
    paired = 2 * 1.972 * (means[0] - means[1]).std(ddof=1) / np.sqrt(200)  # Student's, by formula
    assert found["high"] - found["low"] == pytest.approx(paired, rel=0.05)


@pytest.mark.parametrize("n, said", [(5, ["not shown", "gain", "not shown"]), (6, ["gain", "gain", "gain"])])
def test_below_six_problems_nothing_can_be_shown(n, said):
    assert binomtest(LEAST_PROBLEMS, LEAST_PROBLEMS).pvalue < 0.05 < binomtest(5, 5).pvalue
    ones = {"amc23": np.ones((n, 4), dtype=bool), "math500": np.ones((30, 4), dtype=bool)}
    first, second = made_evaluation(ones), made_evaluation({b: ~t for b, t in ones.items()})
    found = compare(first, second, ACCURACY, ["amc23", "math500"], 2000)["accuracy"]
    assert [verdict(c) for c in found.values()] == said  # the average has no more than its smallest benchmark


def test_other_problems_are_no_pairs():
    first, second = made_evaluation(right(0.5, {"amc23": 40})), made_evaluation(right(0.5, {"amc23": 38}), "base", "b")
    with pytest.raises(
        ValueError, match=r"amc23: not the same problems, 2 only in .*: m \(such as amc23/38\) and 0 only in base: b"
    ):
        compare(first, second, ACCURACY, ["amc23"])


def test_benchmarks_in_common_are_in_the_order_of_the_first():
    names = (["b", "a", "c"], ["a", "c", "d"], ["c", "a"])
    made = {f"r{i}": made_evaluation(right(0.5, dict.fromkeys(n, 4))) for i, n in enumerate(names)}
    assert common_benchmarks(made) == (["a", "c"], {"b": ["r1", "r2"], "d": ["r0", "r2"]})
    assert common_benchmarks({}) == ([], {})
    made["r3"] = made_evaluation(right(0.5, {"d": 4}))
    with pytest.raises(
        ValueError, match="no benchmark was evaluated for all: r0: b, a, c; r1: a, c, d; .* the same --benchmarks"
    ):
        common_benchmarks(made)


# ---------------------------------------------------------------------- words


@pytest.mark.parametrize(
    "found, said",
    [
        (GAIN, "gain"),
        (LOSS, "loss"),
        (NONE, "not shown"),
        (NO_INTERVAL, "not shown"),
        (cell(0.1, 0.0, 0.2), "not shown"),  # an interval that ends at zero holds it
        (cell(-0.1, -0.2, 0.0), "not shown"),
        (cell(0, 0.0, 0.0), "not shown"),
    ],
)
def test_a_verdict_is_whether_the_interval_leaves_zero_out(found, said):
    assert verdict(found) == said
    assert {"gain": "a gain", "loss": "a loss", "not shown": "no difference"}[said] in sentence("x", {"amc23": found})


def test_points():
    assert points(cell(0.0524, 0.0206, 0.0831)) == "+5.2 (+2.1 to +8.3)"
    assert points(cell(-0.5, None, None)) == "-50.0"
    assert points(cell(-12.34, -20, 3), scale=1) == "-12.3 (-20.0 to +3.0)"


def test_a_comparison_is_judged_by_the_average_or_the_only_benchmark():
    assert headline({"a": GAIN}) is GAIN
    assert headline({"a": GAIN, "b": GAIN, "average": NONE}) is NONE
    said = sentence("base", {"amc23": GAIN, "math500": LOSS, "aime24": cell(1, None, None, 3), "average": NONE})
    assert said == (
        "Policy minus base: no difference is shown on the average (+10.0 points, interval -10.0 to +30.0). Fewer than "
        "6 problems can show nothing: AIME24 has 3. By benchmark: gain on AMC; loss on MATH-500."
    )
    assert sentence("base", {"amc23": NONE, "math500": NONE, "average": NONE}).endswith("nothing shown on any.")
    assert sentence("base", {"amc23": NO_INTERVAL}).startswith(
        "Policy minus base: no difference is shown on AMC (+100.0 points, no"
    )


def said_of(unlike=None, given=None, **found):
    outcomes = {role: {"amc23": c} for role, c in found.items()}
    return conclusions(outcomes, unlike or {}, ROLES if given is None else given)


@pytest.mark.parametrize("base", [GAIN, NONE, LOSS])
def test_ability_is_claimed_only_over_the_base_and_everything_it_says_untrained(base):
    for others in itertools.product([GAIN, NONE, LOSS, None], repeat=3):
        found = {"base": base} | {role: c for role, c in zip(DECODINGS, others) if c is not None}
        text = " ".join(said_of(**found))
        gained, unbeaten = base is GAIN, [r for r in DECODINGS if found.get(r, GAIN) is not GAIN]
        sharper = gained and bool({"greedy", "low_temperature"} & set(unbeaten))
        assert ("Self-improvement is shown" in text) == gained
        assert ("Sharpening, not new ability" in text) == sharper
        assert ("Not only sharpening" in text) == (gained and not unbeaten and "greedy" in found)
        assert not gained or all(ROLES[role][0] in text for role in unbeaten)


@pytest.mark.parametrize("control", ["format", "random"])
def test_a_gain_that_a_control_has_too_is_not_credited(control):
    name = ROLES[control][0]
    assert f"The policy is above the {name} (+10.0 points, interval +2.0 to +18.0)." in said_of(
        base=GAIN, **{control: GAIN}
    )
    (line,) = [x for x in said_of(base=GAIN, **{control: LOSS}) if name in x]
    assert line.endswith("what was gained can't be credited to the policy's own reward.")
    (line,) = [x for x in said_of(base=NONE, **{control: NONE}) if name in x]
    assert "credited" not in line  # nothing was gained


@pytest.mark.parametrize("found, how", [(GAIN, "is above"), (LOSS, "is below"), (NONE, "can't be told apart from")])
def test_the_label_reward_is_what_could_be_had(found, how):
    assert any(line.startswith(f"The policy {how} the label-reward run (") for line in said_of(labels=found))


def test_what_is_missing_or_not_alike_is_said():
    lines = said_of(
        base=GAIN, unlike={"base": ["top_p is 1, the policy's 0.9"], "greedy": []}, given={"policy", "base"}
    )
    assert lines[0].startswith("The policy is above the sampled base")  # but not: self-improvement is shown
    assert "Not evaluated alike, which may explain a difference: sampled base, top_p is 1, the policy's 0.9." in lines
    missing = [f"No {ROLES[r][0]} was given: {ROLES[r][1]}." for r in ROLES if r not in ("policy", "base")]
    assert lines[-len(missing) :] == missing
    assert not any("was given" in line for line in said_of(base=GAIN))


def made_roles(policy=None, role="base", **other):
    """A policy and another role; what `other` names differs from the policy's."""
    common = {"temperature": 0.6, "top_p": 0.95, "max_tokens": 100}
    first = made_evaluation(right(0.5), "policy", "rl", **common | (policy or {}))
    return {"policy": first, role: made_evaluation(right(0.5), role, "base", **common | other)}


def test_settings_that_a_role_asks_for_may_differ():
    assert differences_in_settings(made_roles(), "base") == []
    assert differences_in_settings(made_roles(max_tokens=50), "base") == ["max_tokens is 50, the policy's 100"]
    assert differences_in_settings(made_roles(role="low_temperature", temperature=0.2), "low_temperature") == []
    found = differences_in_settings(made_roles(role="low_temperature", top_p=1.0), "low_temperature")
    assert found == ["top_p is 1.0, the policy's 0.95"]
    greedy = {"role": "greedy", "samples": 1, "temperature": 0.0, "top_p": 1.0}
    assert differences_in_settings(made_roles(**greedy), "greedy") == []
    assert differences_in_settings(made_roles(policy={"dtype": "bfloat16"}), "base") == [
        "dtype is None, the policy's bfloat16"
    ]


def test_a_control_of_another_model_is_told():
    roles = made_roles(role="greedy", samples=1, temperature=0.0)
    roles["base"] = made_evaluation(right(0.5), "base", "base2", temperature=0.6, top_p=0.95, max_tokens=100)
    assert differences_in_settings(roles, "greedy") == [
        "its model is /weights/base, the sampled base's /weights/base2"
    ]
    roles["base"] = made_evaluation(right(0.5), "base", "rl", temperature=0.6, top_p=0.95, max_tokens=100)
    assert differences_in_settings(roles, "base") == ["it is the policy's own model"]


# ---------------------------------------------------------------------- collapse


@pytest.mark.parametrize(
    "metric, start, limit, sign",
    [
        ("completions__mean_length", 100, 100 * LIMITS.watch_length[0], "tokens, 100.0 at the start"),
        ("completions__mean_length", 100, 100 * LIMITS.watch_length[1], "tokens, 100.0 at the start"),
        (
            "completions__repetition_rate",
            0.25,
            0.25 + LIMITS.watch_repetition,
            "of the 4-grams repeat, 0.25",
        ),
        ("completions__eos_rate", 0.75, 0.75 - LIMITS.watch_eos, "of the responses end, 0.75"),
    ],
)
def test_a_change_is_a_sign_beyond_its_limit_and_not_on_this_side_of_it(metric, start, limit, sign):
    beyond = limit + (limit - start) * 0.01
    within = limit - (limit - start) * 0.01
    series = [start - 1, start, start + 1, 999, *[beyond] * 3] if start > 1 else [start] * 3 + [beyond] * 3
    (found,) = collapse_signs(made_run(**{metric: series}))
    assert sign in found
    assert found.startswith(f"responses have {beyond:.1f}" if start > 1 else f"{beyond:.2f} of")
    assert not collapse_signs(made_run(**{metric: [*[start] * 3, *[within] * 3]}))
    assert not collapse_signs(made_run(**{metric: [start, beyond, beyond]}))  # too few to have a start and an end


def test_a_fall_of_held_out_accuracy_is_a_sign_and_of_a_reward_is_not():
    drop = LIMITS.watch_drop
    for fall, signs in ((0.9 * drop, 0), (1.1 * drop, 1)):
        run = made_run(**{"eval_rewards__accuracy__mean": [0.3, 0.6, 0.6 - fall], "reward": [1, 2, 3]})
        assert len(collapse_signs(run)) == signs
    assert collapse_signs(run)[0].endswith("fell from 0.600 (step 2) to 0.545 while the reward rose")
    falling = made_run(**{"eval_rewards__accuracy__mean": [0.6, 0.3], "reward": [2, 1]})
    assert collapse_signs(falling) == ["eval_rewards/accuracy/mean fell from 0.600 (step 1) to 0.300"]
    assert not collapse_signs(made_run(**{"eval_rewards__endorm__mean": [5.0, 1.0]}))  # of nats no limit is known


def test_numbers_that_are_none_are_a_sign():
    run = made_run(loss=[1.0])
    run.infinite = {"loss": [3, 5], "grad_norm": [5]}
    assert collapse_signs(run) == [
        "loss was not finite at 2 logged steps, first at 3",
        "grad_norm was not finite at 1 logged steps, first at 5",
    ]
    assert collapse_signs(made_run()) == []
