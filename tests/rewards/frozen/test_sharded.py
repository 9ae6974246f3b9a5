"""The frozen base under FSDP2 and ZeRO-3 on two CPU processes gives the unsharded scores."""

import json

import pytest
from launching import torchrun

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["fsdp2", "zero3"])
def test_sharded_scores_equal_unsharded_ones(kind, saved_model, tmp_path):
    torchrun("sharded_worker.py", kind, saved_model, tmp_path)
    reports = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [r["rows"] for r in reports] == [3, 7]
    assert all(r["worst"] < 1e-4 for r in reports)
    assert all(r["sharded"] for r in reports)
    assert reports[0]["forwards"] == reports[1]["forwards"] > 3  # the process with less work takes part to the end
    assert all(r["share"] < 0.75 for r in reports)  # no process holds all the weights
