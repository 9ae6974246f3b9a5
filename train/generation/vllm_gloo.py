"""Weights from a trainer to a vLLM server over gloo, for servers without a GPU.

vLLM moves weights by NCCL, which needs GPUs on both sides. Here is another backend for its
`--weight-transfer-config '{"backend": "gloo"}'`; `vllm_client.py` is the trainer's side. `pyproject.toml` lists
`register` among vLLM's plugins, so every vLLM that is installed beside this project knows the backend, and
`scripts/cluster/serve_vllm.sh` asks for it where there is no GPU. vLLM imports this file whenever it starts, so TRL is
not imported here.

Rank 0 is the trainer, the ranks after it are the server's workers, and each weight is broadcast by itself.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import BroadcastOptions, ProcessGroupGloo, TCPStore

BACKEND = "gloo"
LONGEST_WAIT = timedelta(minutes=10)  # for the other side to join, and for it to take a weight


def register() -> None:
    """Tell vLLM of the backend. A plugin of vLLM's, which calls it in each of its processes, perhaps repeatedly."""
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    if BACKEND not in WeightTransferEngineFactory._registry:  # vLLM has no other way to ask
        WeightTransferEngineFactory.register_engine(BACKEND, engine_class())


@functools.cache
def engine_class() -> type:
    """The server's side, a class of vLLM's: each of its workers joins and loads what it receives."""
    from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine

    class GlooWeightTransferEngine(NCCLWeightTransferEngine):
        def init_transfer_engine(self, init_info) -> None:
            workers = self.parallel_config
            rank = init_info.rank_offset + workers.data_parallel_index * workers.world_size + workers.rank
            store = meet(init_info.master_address, init_info.master_port, rank)
            self.model_update_group = join(store, rank, init_info.world_size)

        def receive_weights(self, update_info) -> None:
            for name, dtype, shape in zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True):
                weight = torch.empty(shape, dtype=getattr(torch, dtype))
                broadcast(self.model_update_group, weight)
                self.model.load_weights([(name, weight.to(self.device))])

    return GlooWeightTransferEngine


def meet(address: str, port: int, rank: int) -> TCPStore:
    """Where the processes of a group find each other; rank 0 is the first and opens it.

    Raises:
        torch.distributed.DistNetworkError: the port is taken.
    """
    return TCPStore(address, port, is_master=rank == 0, wait_for_workers=False, timeout=LONGEST_WAIT)


def join(store: TCPStore, rank: int, size: int) -> Any:
    """A `ProcessGroupGloo` apart from torch's default one, which trainer and server each have for themselves."""
    return ProcessGroupGloo(store, rank, size, LONGEST_WAIT)


def broadcast(group: Any, weight: Tensor) -> None:
    """Rank 0 sends a contiguous CPU tensor, the others receive into theirs."""
    options = BroadcastOptions()
    options.rootRank, options.rootTensor = 0, 0
    group.broadcast([weight], options).wait()
