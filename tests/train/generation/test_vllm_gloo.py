"""Weights from one process to another over gloo, with threads for processes."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from train.generation.vllm_gloo import broadcast, join, meet


def test_every_worker_gets_what_rank_0_has():
    sent = [torch.randn(3, 5), torch.arange(7).to(torch.bfloat16), torch.ones(1, dtype=torch.float16)]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]

    def worker(rank):
        group = join(meet("127.0.0.1", port, rank), rank, 3)
        tensors = [t.clone() if rank == 0 else torch.empty_like(t) for t in sent]
        for t in tensors:
            broadcast(group, t)
        return tensors

    with ThreadPoolExecutor(3) as pool:
        for received in pool.map(worker, range(3)):
            assert all(torch.equal(a, b) for a, b in zip(received, sent, strict=True))


def test_a_port_that_is_taken_is_an_error_at_once():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        with pytest.raises(torch.distributed.DistNetworkError):
            meet("127.0.0.1", s.getsockname()[1], 0)
