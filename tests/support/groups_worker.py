"""One of two CPU processes: the group rewards of its share of 1,000 groups.

python -m torch.distributed.run --nproc_per_node 2 tests/support/groups_worker.py OUTPUT
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist
from accelerate import PartialState
from limits import LIMIT
from random_groups import random_groups, splits

from rewards import answers
from rewards.cluster_share import ClusterShare
from rewards.majority_vote import MajorityVote


def main(output: str) -> None:
    answers._SECONDS = LIMIT
    rank = PartialState(cpu=True).process_index
    prompts, completions, _, _ = random_groups()
    report = {}
    for name, shares in splits(prompts).items():
        mine = shares[rank]
        for reward in (MajorityVote(), ClusterShare()):
            report[f"{name} {reward.__name__}"] = reward(prompts=prompts[mine], completions=completions[mine])
    Path(output, f"{rank}.json").write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
