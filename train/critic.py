"""The critic: a small network on what the frozen base already knows of a state.

Its inputs are the frozen base's last hidden state and soft value V(s), which the rollout's one frozen forward gives
for nothing. It lives outside the policy, replicated on every process with averaged gradients and an optimizer of its
own, so it is never sharded and never sent to vLLM.

Its scale follows the returns as in PopArt (van Hasselt et al., arXiv 1602.07714): running statistics, and when they
move the last layer is rescaled so that no value changes. How a rollout is spread over processes and in which order its
rows stand changes nothing either: minibatches are drawn by what a state is, not by where it lies.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from train.ppo_math import value_loss

WINDOW = 10  # rollouts: how far back the running statistics look
NOISE = 1e-6  # a spread of returns up to this share of their size is what fp32 leaves of none


class Critic(nn.Module):
    """value(s) = coefficient * V(s) + shift + scale * MLP(hidden(s), V(s)), in nats.

    For the undiscounted dense endogenous reward, V(s) is exactly the shaping potential inside the return, so that the
    coefficient is its weight there and 0 elsewhere. It is no parameter: an optimizer's step would be in nats whatever
    the size of the returns, and what else V(s) says of them the MLP learns. `shift` and `scale` follow the returns, so
    that the MLP learns numbers of unit size whatever the length of responses. Its last layer has no bias, `shift` is
    it: where it has just been set its gradient is rounding noise, which Adam would turn into a whole step.

    Args:
        hidden_size: H of the frozen base.
        width: units of the MLP's hidden layer.
        coefficient: of V(s).
        seed: of the initial weights, so that every process starts with the same ones.
    """

    coefficient: Tensor
    shift: Tensor
    scale: Tensor
    rollouts: Tensor
    moments: Tensor

    def __init__(self, hidden_size: int, width: int = 256, coefficient: float = 1.0, seed: int = 0):
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        first, last = nn.Linear(hidden_size + 1, width), nn.Linear(width, 1, bias=False)
        self.mlp = nn.Sequential(first, nn.SiLU(), last)
        self.register_buffer("coefficient", torch.tensor(float(coefficient)))
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(0.0))  # 0: no spread of returns seen yet
        self.register_buffer("rollouts", torch.tensor(0.0))
        # running mean and mean square of returns - coefficient * V
        self.register_buffer("moments", torch.zeros(2, dtype=torch.float64))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            first.weight.normal_(std=(hidden_size + 1) ** -0.5, generator=generator)
            first.bias.zero_()
            last.weight.zero_()

    def forward(self, hidden: Tensor, soft_values: Tensor) -> Tensor:
        """Values (N,) fp32 of states given as hidden (N, H), any dtype, and soft values (N,)."""
        features = torch.cat([self.norm(hidden.float()), 0.1 * soft_values[:, None]], dim=1)
        return self.coefficient * soft_values + self.shift + self.scale * self.mlp(features)[:, 0]

    @torch.no_grad()
    def start(self, errors: Tensor, reduce_sum=lambda t: t) -> Tensor:
        """Before anything was learned: shift all values by the mean error of the first rollout's.

        With lambda below 1 an estimate leans on values, and values of 0 would make each token's advantage a matter of
        how far it is from the end.

        Args:
            errors: (N,) undiminished returns (lambda 1) minus values, of this process's states.

        Returns:
            the shift, a scalar; 0 if something was learned before.
        """
        if self.rollouts > 0:
            return torch.zeros_like(self.shift)
        n, total = reduce_sum(torch.stack([errors.new_tensor(len(errors)), errors.sum()]).double()).unbind()
        shift = (total / n.clamp(min=1)).to(self.shift)
        self.shift += shift
        return shift

    @torch.no_grad()
    def follow(self, soft_values: Tensor, values: Tensor, returns: Tensor, reduce_sum=lambda t: t) -> bool:
        """Let shift and scale follow a rollout's returns.

        The scale becomes the running spread of what V(s) leaves of the returns. The shift moves by the mean error of
        the values; the last layer is divided by as much as the scale is multiplied. Both look back `WINDOW` rollouts,
        fewer in the beginning, so that a first rollout without any spread does not decide for long.

        Args:
            soft_values, values, returns: (N,) of this process's states; N may be 0.
            reduce_sum: adds a tensor up over all processes.

        Returns:
            whether there is something to learn: states on any process, and returns that differ.
        """
        rest = returns.double() - self.coefficient.double() * soft_values.double()
        error = returns.double() - values.double()
        sums = torch.stack([rest.new_tensor(len(rest)), rest.sum(), rest.square().sum(), error.sum()])
        n, *sums = reduce_sum(sums).unbind()
        if n == 0:
            return False
        self.rollouts += 1
        share = 1 / self.rollouts.clamp(max=WINDOW).double()
        mean, square, error = (x / n for x in sums)
        self.moments += share * (torch.stack([mean, square]) - self.moments)
        spread = (self.moments[1] - self.moments[0] ** 2).clamp(min=0).sqrt()
        spread = torch.where(spread > NOISE * self.moments[1].sqrt(), spread, 0.0).to(self.scale)
        self.shift += (share * error).to(self.shift)
        if spread > 0:
            last = cast(nn.Linear, self.mlp[2])
            last.weight *= self.scale / spread
            self.scale.copy_(spread)
        return bool(self.scale > 0)


class CriticLearner:
    """Fits a critic to returns by clipped regression with AdamW, and saves and loads both.

    Args:
        critic: the network, already on its device.
        learning_rate: of AdamW, constant.
        epochs: passes over a rollout's states.
        minibatches: optimizer steps a pass; the same on every process.
        clip_range: how far a value may move from the rollout's, in units of the critic's scale; None for no clip.
        reduce_sum: adds a tensor up over all processes.
    """

    FILES = ("critic.safetensors", "critic_optimizer.pt")

    def __init__(self, critic: Critic, learning_rate, epochs, minibatches, clip_range, reduce_sum=lambda t: t):
        self.critic, self.epochs, self.minibatches, self.clip_range = critic, epochs, minibatches, clip_range
        self.reduce_sum = reduce_sum
        self.optimizer = torch.optim.AdamW(critic.parameters(), lr=learning_rate, weight_decay=0.0, fused=True)

    def fit(
        self, hidden: Tensor, soft_values: Tensor, old_values: Tensor, returns: Tensor, keys: Tensor | None = None
    ) -> dict[str, float]:
        """Fit on N local states: hidden (N, H), the rest (N,). Returns the mean loss and clip fraction.

        N may differ between processes (and be 0): gradients are summed and divided by the states of all of them.

        Args:
            keys: (N,) int64, `state_keys` of the states, by which they are dealt to minibatches; default their order.
        """
        before = self.critic.shift.clone()
        if not self.critic.follow(soft_values, old_values, returns, self.reduce_sum):
            return {"critic/loss": 0.0, "critic/clip_fraction": 0.0}
        old_values = old_values + (self.critic.shift - before)  # the clip is about learning, not about this shift
        scale = float(self.critic.scale)
        keys = torch.arange(len(returns), device=returns.device) if keys is None else keys
        epochs = torch.arange(self.epochs, device=returns.device)[:, None]
        batch_of = scramble(keys + epochs).remainder(self.minibatches)  # (epochs, N)
        sizes = torch.stack([(batch_of == number).sum(dim=1) for number in range(self.minibatches)], dim=1)
        own, everywhere = torch.stack([sizes, self.reduce_sum(sizes.clone())]).tolist()
        order = batch_of.argsort(dim=1, stable=True)  # minibatch after minibatch, each in the states' order
        totals = []
        for epoch in range(self.epochs):
            for rows, n in zip(order[epoch].split(own[epoch]), everywhere[epoch]):
                if n == 0:
                    continue  # on every process: a step would be made of momentum alone
                with torch.enable_grad():
                    values = self.critic(hidden[rows], soft_values[rows])
                    numbers = (values / scale, old_values[rows] / scale, returns[rows] / scale)
                    losses, clipped = value_loss(*numbers, self.clip_range)
                    losses.sum().backward()
                self._step(n)
                totals.append(torch.stack([losses.detach() * scale**2, clipped]).sum(dim=1))
        count = totals[0].new_tensor([self.epochs * len(returns)])
        loss, clipped, states = self.reduce_sum(torch.cat([torch.stack(totals).sum(dim=0), count])).tolist()
        return {"critic/loss": loss / max(states, 1), "critic/clip_fraction": clipped / max(states, 1)}

    def _step(self, n: int) -> None:
        """One step on the gradients of a minibatch of n states, those of all processes."""
        parameters = list(self.critic.parameters())
        flat = self.reduce_sum(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])) / n
        for p, g in zip(parameters, flat.split([p.numel() for p in parameters])):
            p.grad = g.view_as(p)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, folder: str | Path) -> None:
        """Write critic.safetensors and critic_optimizer.pt into an existing folder."""
        weights, state = (Path(folder) / name for name in self.FILES)
        save_file({k: v.contiguous() for k, v in self.critic.state_dict().items()}, weights)
        torch.save(self.optimizer.state_dict(), state)

    def load(self, folder: str | Path) -> None:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: the folder has no critic, as a checkpoint of another algorithm has none.
        """
        weights, state = (Path(folder) / name for name in self.FILES)
        if not weights.exists() or not state.exists():
            raise FileNotFoundError(
                f"{folder} has no {' and '.join(self.FILES)}: it is no PPO checkpoint of this project. Start with "
                "--model_name_or_path from it instead of resuming."
            )
        self.critic.load_state_dict(load_file(weights))
        self.optimizer.load_state_dict(torch.load(state, map_location="cpu", weights_only=True))


def state_keys(prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> Tensor:
    """(M,) int64: for the state before each token of each response a number that depends on nothing but the prompt,
    the response and the place in it."""
    firsts = torch.tensor([hash((tuple(p), tuple(r))) for p, r in zip(prompt_ids, response_ids)])
    lengths = torch.tensor([len(r) for r in response_ids])
    places = torch.cat([torch.arange(len(r)) for r in response_ids])
    return scramble(firsts).repeat_interleave(lengths) + places


def scramble(x: Tensor) -> Tensor:
    """int64 to int64, any shape: the mixing step of SplitMix64 (Steele, Lea and Flood, 2014), which makes neighbours
    look unrelated."""
    x = (x ^ (x >> 30)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31)
