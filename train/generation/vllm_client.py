"""The trainer's side of a vLLM server that takes weights over gloo; other servers get TRL's own client."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from trl.generation import vllm_client
from trl.generation.vllm_client import VLLMClient

from train.generation.vllm_gloo import BACKEND, broadcast, join, meet


class Client(VLLMClient):
    """TRL's client of a vLLM server, which sends the weights over gloo if the server takes them so.

    Raises:
        RuntimeError: a trainer on a CPU, and a server that takes weights by NCCL.
    """

    communicator: Any

    def init_communicator(self, device: torch.device | str | int = 0) -> None:
        """Join the server's workers, by the backend that the server was started with."""
        backend = (self.get_server_info()["weight_transfer_config"] or {}).get("backend")
        self._gloo = backend == BACKEND
        if not self._gloo:
            if not isinstance(device, int) and torch.device(device).type == "cpu":
                raise RuntimeError(
                    f"The vLLM server at {self.base_url} takes weights by {backend or 'no way'}, and a trainer on a "
                    "CPU sends them by gloo. Start it with WEIGHT_TRANSFER=gloo bash scripts/cluster/serve_vllm.sh."
                )
            super().init_communicator(device)
            return
        address, size = vllm_client.get_ip(), self.get_world_size() + 1
        info = {"master_address": address, "master_port": self.group_port, "rank_offset": 1, "world_size": size}
        store = meet(address, self.group_port, 0)  # a port that is taken is an error before the server waits there
        with ThreadPoolExecutor(1) as pool:  # the server answers once it has joined
            answer = pool.submit(self._post, f"{self.base_url}/init_weight_transfer_engine", json={"init_info": info})
            self.communicator = join(store, 0, size)
            answer.result()

    def update_named_params(
        self, metadata: list[tuple[str, str, list[int]]], named_params: Iterator[tuple[str, Tensor]]
    ) -> None:
        """Send weights: as TRL's, of which `metadata` are names, dtypes and shapes in the order of `named_params`."""
        if not self._gloo:
            super().update_named_params(metadata, named_params)
            return
        names, dtypes, shapes = (list(field) for field in zip(*metadata, strict=True))
        info = {"names": names, "dtype_names": dtypes, "shapes": shapes}
        # the server prepares its model before the first weight and packs it after the last
        update = nullcontext() if self._updating_weights else self.weight_update()
        with update, ThreadPoolExecutor(1) as pool:  # it answers once it has all of them
            answer = pool.submit(self._post, f"{self.base_url}/update_weights", json={"update_info": info})
            for _, weight in named_params:
                broadcast(self.communicator, weight.detach().cpu().contiguous())
            answer.result()

    def close_communicator(self) -> None:
        """Leave the group."""
        if getattr(self, "_gloo", False):
            self.communicator = None
        else:
            super().close_communicator()
