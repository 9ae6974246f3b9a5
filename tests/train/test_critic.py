"""The critic learns, and does so alike however its states are spread over processes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from train.critic import Critic, CriticLearner


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

    slots, barrier, critics = [None, None], threading.Barrier(2), [Critic(8), Critic(8)]

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
