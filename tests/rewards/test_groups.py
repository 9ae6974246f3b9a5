"""Groups of completions of one prompt, wherever their processes are."""

import json

import pytest
from launching import torchrun
from random_groups import brute_force, random_groups, splits

from rewards.groups import gather_groups


def test_gather_groups_in_one_process():
    groups, positions = gather_groups(["a", "b", "a"], [1, 2, 3])
    assert groups == [[1, 3], [2]]
    assert positions == [(0, 0), (1, 0), (0, 1)]
    with pytest.raises(ValueError, match="zip"):
        gather_groups(["a"], [1, 2])


@pytest.mark.slow
def test_a_thousand_random_groups_in_two_processes(tmp_path):
    """Majority vote and cluster share, which stand on them."""
    torchrun("groups_worker.py", tmp_path)
    reports = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    prompts, _, groups, labels = random_groups()
    for name, shares in splits(prompts).items():
        order = [groups[share] for share in shares], [labels[share] for share in shares]
        assert set(order[0][0]) & set(order[0][1])  # groups that no process has whole
        for reward, values in brute_force(*(a + b for a, b in order)).items():
            found = [report[f"{name} {reward}"] for report in reports]
            assert [len(rows) for rows in found] == [len(rows) for rows in order[0]]
            assert found[0] + found[1] == pytest.approx(values)
