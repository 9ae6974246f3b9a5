"""The critic: a small network on what the frozen base already knows of a state.

Its inputs are the frozen base's last hidden state and soft value V(s), which the rollout's one frozen forward gives
for nothing. It lives outside the policy, replicated on every process with averaged gradients and an optimizer of its
own, so it is never sharded and never sent to vLLM.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from train.ppo_math import value_loss


class Critic(nn.Module):
    """value(s) = coefficient * V(s) + shift + scale * MLP(hidden(s), V(s)), in nats.

    For the undiscounted dense endogenous reward, V(s) is exactly the shaping potential inside the return, so that the
    coefficient starts at 1 there and at 0 elsewhere. `shift` and `scale` are set once, from the first returns seen, so
    that the MLP learns numbers of unit size whatever the length of responses.

    Args:
        hidden_size: H of the frozen base.
        width: units of the MLP's hidden layer.
        coefficient: where the coefficient of V(s) starts.
        seed: of the initial weights, so that every process starts with the same ones.
    """

    def __init__(self, hidden_size: int, width: int = 256, coefficient: float = 1.0, seed: int = 0):
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.mlp = nn.Sequential(nn.Linear(hidden_size + 1, width), nn.SiLU(), nn.Linear(width, 1))
        self.coefficient = nn.Parameter(torch.tensor(float(coefficient)))
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(0.0))  # 0: no returns seen yet
        generator = torch.Generator().manual_seed(seed)
        first, last = self.mlp[0], self.mlp[2]
        with torch.no_grad():
            first.weight.normal_(std=(hidden_size + 1) ** -0.5, generator=generator)
            first.bias.zero_()
            last.weight.zero_()
            last.bias.zero_()

    def forward(self, hidden: Tensor, soft_values: Tensor) -> Tensor:
        """Values (N,) fp32 of states given as hidden (N, H), any dtype, and soft values (N,)."""
        features = torch.cat([self.norm(hidden.float()), 0.1 * soft_values[:, None]], dim=1)
        return self.coefficient * soft_values + self.shift + self.scale * self.mlp(features)[:, 0]


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

    def fit(self, hidden: Tensor, soft_values: Tensor, old_values: Tensor, returns: Tensor) -> dict[str, float]:
        """Fit on N local states: hidden (N, H), the rest (N,). Returns the mean loss and clip fraction.

        N may differ between processes (and be 0): gradients are summed and divided by the states of all of them.
        """
        if float(self.critic.scale) == 0.0:
            self._calibrate(soft_values, returns)
            old_values = old_values + self.critic.shift  # the clip is about learning, not about this shift
        scale = float(self.critic.scale)
        clip_range = None if self.clip_range is None else self.clip_range * scale
        totals = []
        for _ in range(self.epochs):
            order = torch.randperm(len(returns)).to(returns.device)
            for rows in order.tensor_split(self.minibatches):
                with torch.enable_grad():
                    values = self.critic(hidden[rows], soft_values[rows])
                    losses, clipped = value_loss(values, old_values[rows], returns[rows], clip_range)
                    (losses.sum() / scale**2).backward()
                self._step(len(rows))
                totals.append(torch.stack([losses.detach(), clipped]).sum(dim=1))
        count = totals[0].new_tensor([self.epochs * len(returns)])
        loss, clipped, n = self.reduce_sum(torch.cat([torch.stack(totals).sum(dim=0), count])).tolist()
        return {"critic/loss": loss / max(n, 1), "critic/clip_fraction": clipped / max(n, 1)}

    def _calibrate(self, soft_values: Tensor, returns: Tensor) -> None:
        rest = returns - self.critic.coefficient.detach() * soft_values
        n, total = self.reduce_sum(torch.stack([rest.new_tensor(len(rest)), rest.sum()]))
        mean = total / n.clamp(min=1)
        variance = self.reduce_sum(((rest - mean) ** 2).sum()) / n.clamp(min=1)
        self.critic.shift.copy_(mean)
        self.critic.scale.copy_(variance.sqrt().clamp(min=1e-2))

    def _step(self, n: int) -> None:
        parameters = list(self.critic.parameters())
        flat = torch.cat([p.grad.flatten() for p in parameters] + [parameters[0].new_tensor([n])])
        flat = self.reduce_sum(flat)
        flat = flat[:-1] / flat[-1].clamp(min=1)
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
