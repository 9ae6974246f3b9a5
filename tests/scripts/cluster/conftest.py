"""A Slurm of two nodes on this machine, for the tests that ask for it."""

import pytest
from slurm_cluster import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """It runs while the tests of one file do."""
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
