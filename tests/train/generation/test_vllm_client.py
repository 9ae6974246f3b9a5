"""Which way weights go to a vLLM server, as the server says."""

import pytest
import torch
from trl.generation.vllm_client import VLLMClient

from train.generation.vllm_client import Client


@pytest.fixture
def client(monkeypatch):
    """A client of a server that takes weights by `backend`, without the server."""
    client = object.__new__(Client)
    client.base_url, client.backend, client.joined = "http://server:8000", None, []
    monkeypatch.setattr(
        Client, "get_server_info", lambda self: {"weight_transfer_config": self.backend and {"backend": self.backend}}
    )
    monkeypatch.setattr(VLLMClient, "init_communicator", lambda self, device: self.joined.append(device))
    return client


def test_a_gpu_keeps_trls_way(client):
    client.backend = "nccl"
    for device in (0, "cuda", torch.device("cuda:1")):
        client.init_communicator(device)
    assert client.joined == [0, "cuda", torch.device("cuda:1")]


@pytest.mark.parametrize("backend,words", [("nccl", "by nccl"), (None, "by no way")])
def test_a_cpu_needs_gloo(client, backend, words):
    client.backend = backend
    with pytest.raises(RuntimeError, match=f"takes weights {words}.*WEIGHT_TRANSFER=gloo"):
        client.init_communicator(torch.device("cpu"))
    assert client.joined == []
