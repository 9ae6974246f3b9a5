"""The critic learns, and does so alike however its states are spread over processes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from limits import LIMIT

from train.critic import Critic, CriticLearner, state_keys


def data(n=512, hidden_size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, hidden_size, generator=generator)
    soft_values = 5 + torch.randn(n, generator=generator)
    normed = torch.nn.functional.layer_norm(hidden, (hidden_size,))
    returns = soft_values - 12 + 3 * normed[:, 0] * normed[:, 1]
    return hidden, soft_values, returns


def learner(critic, **changes):
    settings = {"learning_rate": 1e-2, "epochs": 4, "minibatches": 4, "clip_range": 0.5} | changes
    return CriticLearner(critic, **settings)


@pytest.mark.slow
def test_starts_as_the_shaping_potential_and_learns_the_rest():
    hidden, soft_values, returns = data()
    critic = Critic(8, coefficient=1.0)
    assert torch.equal(critic(hidden, soft_values), soft_values)
    fitter = learner(critic)
    torch.manual_seed(0)
    for _ in range(30):
        with torch.no_grad():
            old = critic(hidden, soft_values)
        metrics = fitter.fit(hidden, soft_values, old, returns)
    with torch.no_grad():
        residual = returns - critic(hidden, soft_values)
    assert float(residual.var() / returns.var()) < 0.05
    assert 0 <= metrics["critic/clip_fraction"] <= 1


def test_the_first_fit_is_not_clipped_by_the_shift_to_the_returns_level():
    hidden, soft_values, returns = data()
    metrics = learner(Critic(8), learning_rate=1e-6).fit(hidden, soft_values, soft_values, returns)
    assert metrics["critic/clip_fraction"] == 0.0


def fit_once(critic, reduce_sum, hidden, soft_values, returns):
    fitter = learner(critic, epochs=1, minibatches=1, reduce_sum=reduce_sum)
    fitter.optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)  # Adam's first step hides a gradient's size
    fitter.fit(hidden, soft_values, soft_values.clone(), returns)


def test_same_step_for_one_process_and_for_two_with_unequal_shares():
    hidden, soft_values, returns = data(16)
    whole = Critic(8)
    fit_once(whole, lambda x: x, hidden, soft_values, returns)

    slots, barrier, critics = [None, None], threading.Barrier(2, timeout=LIMIT), [Critic(8), Critic(8)]

    def process(rank, share):
        def all_reduce(x):
            slots[rank] = x
            barrier.wait()
            total = slots[0] + slots[1]
            barrier.wait()
            return total

        fit_once(critics[rank], all_reduce, hidden[share], soft_values[share], returns[share])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(process, (0, 1), (slice(0, 5), slice(5, 16))))
    for critic in critics:
        for a, b in zip(critic.state_dict().values(), whole.state_dict().values()):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_process_without_states_takes_part():
    hidden, soft_values, returns = data(0)
    critic = Critic(8)
    critic.scale.fill_(1.0)
    metrics = learner(critic).fit(hidden, soft_values, soft_values, returns)
    assert metrics == {"critic/loss": 0.0, "critic/clip_fraction": 0.0}
    assert all(p.isfinite().all() for p in critic.parameters())


def test_save_and_load_continue_to_the_bit(tmp_path):
    hidden, soft_values, returns = data()
    first = learner(Critic(8))
    torch.manual_seed(1)
    first.fit(hidden, soft_values, soft_values, returns)
    first.save(tmp_path)
    second = learner(Critic(8, seed=5))
    second.load(tmp_path)
    for one in (first, second):
        torch.manual_seed(2)
        one.fit(hidden, soft_values, soft_values, returns)
    for a, b in zip(first.critic.state_dict().values(), second.critic.state_dict().values()):
        assert torch.equal(a, b)


def test_a_checkpoint_without_a_critic_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no PPO checkpoint"):
        learner(Critic(8)).load(tmp_path)


def rollout_of(number, n=256, hidden_size=8):
    """Fresh states of one and the same task: most of the spread of returns can be read off the hidden state."""
    generator = torch.Generator().manual_seed(100 + number)
    hidden = torch.randn(n, hidden_size, generator=generator)
    soft_values = 5 + torch.randn(n, generator=generator)
    normed = torch.nn.functional.layer_norm(hidden, (hidden_size,))
    returns = 20 + 4 * normed[:, 0] - 3 * normed[:, 1].relu() + torch.randn(n, generator=generator)
    return hidden, soft_values, returns


def explained_at_the_tenth(first, coefficient):
    """1 - Var(returns - values) / Var(returns) of the tenth rollout, before it is fitted, as PPO goes about it."""
    critic = Critic(8, width=32, coefficient=coefficient)
    fitter = learner(critic)
    for number in range(1, 11):
        hidden, soft_values, returns = rollout_of(number)
        if number == 1 and first == "zeros":
            returns = torch.zeros_like(returns)
        if number == 1 and first == "no state":
            hidden, soft_values, returns = hidden[:0], soft_values[:0], returns[:0]
        with torch.no_grad():
            values = critic(hidden, soft_values)
            values = values + critic.start(returns - values)
        if number < 10:
            fitter.fit(hidden, soft_values, values, returns)
    return 1 - float((returns - values).var() / returns.var())


@pytest.mark.parametrize("coefficient", [0.0, 1.0])
@pytest.mark.parametrize("first", ["zeros", "no state"])
def test_a_first_rollout_that_says_nothing_is_soon_forgotten(first, coefficient):
    normal = explained_at_the_tenth("like the others", coefficient)
    assert normal >= 0.7
    found = explained_at_the_tenth(first, coefficient)
    assert found >= 0.6
    assert abs(found - normal) < 0.05


def some_critic(coefficient=0.7):
    """A critic whose last layer says something, in units of a scale."""
    critic = Critic(8, coefficient=coefficient)
    with torch.no_grad():
        critic.mlp[2].weight.normal_(generator=torch.Generator().manual_seed(1))
        critic.scale.fill_(2.0)
    return critic


def test_follow_moves_all_values_alike_and_rescales_none():
    """Against running moments in plain Python: the mean error goes into the shift, the spread into the scale."""
    critic, first, second = some_critic(), 0.0, 0.0
    for number, size in enumerate([1.0, 100.0, 0.01, *[3.0] * 10], start=1):
        hidden, soft_values, returns = rollout_of(number)
        returns = size * returns
        with torch.no_grad():
            before = critic(hidden, soft_values)
            critic.follow(soft_values, before, returns)
            after = critic(hidden, soft_values)
        share = 1 / min(number, 10)
        shift = share * float((returns.double() - before.double()).mean())
        torch.testing.assert_close(after, before + shift, rtol=1e-5, atol=1e-4)
        rest = (returns - 0.7 * soft_values).tolist()
        first += share * (sum(rest) / len(rest) - first)
        second += share * (sum(x * x for x in rest) / len(rest) - second)
        assert float(critic.scale) == pytest.approx((second - first**2) ** 0.5, rel=1e-4)
    assert float(critic.rollouts) == 13


def test_returns_without_spread_keep_the_scale_and_move_the_shift():
    critic = Critic(8, coefficient=0.0)
    hidden, soft_values, _ = rollout_of(1)
    for expected in (7.1, 7.1):  # of equal returns fp32 leaves no spread but rounding
        returns = torch.full((256,), 7.1)
        critic.follow(soft_values, critic(hidden, soft_values).detach(), returns)
        assert float(critic.scale) == 0.0
        assert float(critic.shift) == pytest.approx(expected, rel=1e-6)


def test_statistics_survive_save_and_load(tmp_path):
    one, other = learner(Critic(8, coefficient=1.0)), learner(Critic(8, coefficient=0.3, seed=5))
    for number in range(1, 4):
        hidden, soft_values, returns = rollout_of(number)
        with torch.no_grad():
            values = one.critic(hidden, soft_values)
        one.fit(hidden, soft_values, values, returns)
    one.save(tmp_path)
    other.load(tmp_path)
    for name in ("shift", "scale", "rollouts", "moments"):
        kept, loaded = getattr(one.critic, name), getattr(other.critic, name)
        assert torch.equal(kept, loaded)
        assert kept.dtype == loaded.dtype
    assert float(other.critic.rollouts) == 3
    assert bool((other.critic.moments != 0).all())
    assert float(other.critic.start(torch.ones(5))) == 0.0  # a critic that goes on does not start again
    hidden, soft_values, returns = rollout_of(4)
    for fitter in (one, other):
        with torch.no_grad():
            values = fitter.critic(hidden, soft_values)
        fitter.critic.follow(soft_values, values, returns)
    assert torch.equal(one.critic.moments, other.critic.moments)


def test_no_weight_depends_on_the_order_of_states():
    """States change places and take their keys along; four rollouts of four minibatches."""
    critics = []
    for permuted in (False, True):
        critic = Critic(8, coefficient=1.0)
        fitter = learner(critic, learning_rate=1e-3)
        for number in range(1, 5):
            hidden, soft_values, returns = rollout_of(number)
            keys = state_keys([[number, i] for i in range(64)], [[5, 6, 7, i] for i in range(64)])
            order = torch.randperm(256, generator=torch.Generator().manual_seed(number))
            order = order if permuted else torch.arange(256)
            with torch.no_grad():
                values = critic(hidden, soft_values)
            rows = (x[order] for x in (hidden, soft_values, values, returns, keys))
            fitter.fit(*rows)
        critics.append(critic)
    assert not torch.equal(critics[0].mlp[2].weight, Critic(8).mlp[2].weight)
    for (name, a), b in zip(critics[0].state_dict().items(), critics[1].state_dict().values()):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_the_loss_is_logged_in_nats_and_the_clip_range_counts_spreads(size):
    """Of a fit that moves next to nothing, from old values that lie above the critic's by a share of the spread."""
    hidden, soft_values, returns = rollout_of(1)
    soft_values, returns = size * soft_values, size * returns
    rest = returns - soft_values
    spread = float(rest.std(unbiased=False))
    for above, limit in ((0.0, None), (0.0, 0.5), (0.4, 0.5), (1.5, 0.5)):
        metrics = learner(Critic(8), learning_rate=1e-9, clip_range=limit).fit(
            hidden, soft_values, soft_values + above * spread, returns
        )
        # the shift takes away the old values' mean error; what is left of the new ones' is -above
        error = (rest - rest.mean()) / spread + above
        clipped = error - max(0.0, above - (limit or 0.0))  # a value may come down by the limit and no further
        worst = torch.maximum(error**2, clipped**2) if limit else error**2
        share = float((clipped**2 > error**2).float().mean()) if above > (limit or 0.0) else 0.0
        assert metrics["critic/loss"] == pytest.approx(0.5 * spread**2 * float(worst.mean()), rel=1e-3)
        assert metrics["critic/clip_fraction"] == pytest.approx(share, abs=0.01)
        assert (share > 0.1) == (above > 1)


def test_a_step_is_that_of_the_mean_loss_in_units_of_the_scale():
    """Plain gradient descent, whose step shows the gradient's size, against autograd on the formula."""
    hidden, soft_values, returns = rollout_of(1)
    critic, lone = Critic(8, width=16, coefficient=0.0), Critic(8, width=16, coefficient=0.0)
    fitter = learner(critic, epochs=1, minibatches=1, clip_range=None)
    fitter.optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    spread = returns.std(unbiased=False)
    features = torch.cat([torch.nn.functional.layer_norm(hidden, (8,)), 0.1 * soft_values[:, None]], dim=1)
    units = torch.nn.functional.silu(lone.mlp[0](features))
    error = (lone.coefficient * soft_values + returns.mean() - returns) / spread + lone.mlp[2](units)[:, 0]
    (0.5 * error**2).mean().backward()
    gradient = lone.mlp[2].weight.grad
    norm = gradient.norm()  # the first layer has no gradient: the last is 0
    assert 1 / 256 < float(norm) < 1.0  # so that it is not cut to 1, and would be if it were the sum
    fitter.fit(hidden, soft_values, torch.zeros(len(returns)), returns)
    torch.testing.assert_close(critic.mlp[2].weight.detach(), -0.1 * gradient, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("size", [2.0**-20, 2.0**-10, 2.0**10])
def test_what_the_critic_learns_has_the_size_of_the_returns(size):
    """Powers of two are exact in floats: the values of returns of another size are those of the first, times it."""
    values = []
    for factor in (1.0, size):
        critic = Critic(8, coefficient=0.0)
        fitter = learner(critic, learning_rate=1e-3)
        for seed in range(1, 6):
            hidden, soft_values, returns = rollout_of(seed)
            with torch.no_grad():
                old = critic(hidden, soft_values)
            fitter.fit(hidden, soft_values, old, factor * returns)
        values.append(old / factor)
    torch.testing.assert_close(values[0], values[1], atol=1e-4, rtol=1e-4)


def test_a_states_key_depends_on_its_own_tokens_alone():
    prompts, responses = [[5, 6], [7], [8, 9]], [[1, 2, 3], [4, 5], [6]]
    keys = state_keys(prompts, responses).split([3, 2, 1])
    again = state_keys(prompts[::-1], responses[::-1]).split([1, 2, 3])
    assert all(torch.equal(a, b) for a, b in zip(keys, again[::-1]))
    assert len(set(torch.cat(keys).tolist())) == 6
