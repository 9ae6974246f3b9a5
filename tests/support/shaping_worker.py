"""One of one or more CPU processes: shapes its part of eight fixed responses and writes what it got.

python -m torch.distributed.run --nproc_per_node 2 tests/support/shaping_worker.py MODEL_FOLDER OUTPUT
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from helpers import length, ppo  # noqa: E402

from rewards import Shaping  # noqa: E402
from train.reward_mix import ShapedReward  # noqa: E402
from train.rollout import begin  # noqa: E402

LENGTHS = [3, 1, 4, 2, 6, 5, 3, 3]
# None in all of the first half: with two processes the first one does not see that these are token rewards
TOKENS = [None] * 4 + [[0.1 * i * h - 0.3 for h in range(n)] for i, n in enumerate(LENGTHS)][4:]
SCORES = [1.0, 2.5, None, -1.0, 0.0, 2.0, None, 7.0]


def tokens(part, **_):
    return TOKENS[part]


def scores(part, **_):
    return SCORES[part]


def rewards():
    return [
        ShapedReward(tokens, Shaping(normalise="running", length_control=True, clip=2.0)),
        ShapedReward(scores, Shaping(normalise="group", gate="length")),
        ShapedReward(scores, Shaping(normalise="batch", length_control=True), "controlled"),
        ShapedReward(length, Shaping(normalise="running")),
    ]


def main(folder: str, output: str) -> None:
    torch.set_num_threads(1)
    processes = int(dist.is_torchelastic_launched()) + 1
    size = {"per_device_train_batch_size": 4 // processes, "num_generations": 4}
    trainer = ppo(folder, output, rewards(), **size)
    accelerator = trainer.accelerator
    assert accelerator.num_processes == processes
    local = 8 // processes
    part = slice(accelerator.process_index * local, (accelerator.process_index + 1) * local)
    ids = [[5] * n for n in LENGTHS[part]]
    trainer.model.train()
    rounds = []
    for _ in range(2):  # running statistics take in two rollouts
        rows = [func(part=part, completion_ids=ids) for func in trainer.reward_funcs]
        raw = torch.tensor([[float("nan") if r is None else r for r in row] for row in rows]).T
        rollout = begin([[5]] * local, ids, None, [2], True, accelerator.process_index)
        rollout = trainer._with_rewards(rollout, accelerator.gather(raw.contiguous()))
        rounds.append({"shaped": rollout.rewards.tolist(), "tokens": rollout.token_rewards[0].tolist()})
    report = {"rounds": rounds, "state": trainer.mix.state_dict()}
    Path(output, f"{accelerator.process_index}_of_{processes}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
    if dist.is_initialized():
        dist.destroy_process_group()
