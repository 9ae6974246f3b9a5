"""TRL's fused language-model head, made fit for a CPU.

Where there is no Triton, TRL 1.16 puts the states of prompts through the head too, in tiles of 4,096 states by 32,768
vocabulary entries: half a gibibyte, which no cache holds. Both are globals of its module, not settings.
"""

import torch
from trl.trainer import utils

TILE = 2048  # vocabulary entries of a tile: 32 MiB with 4,096 states


def fit_fused_head(device: torch.device) -> None:
    """Have TRL score the states of responses alone, in tiles near a CPU's caches; nothing changes on other devices."""
    if device.type != "cpu" or utils._CHUNKED_LOGPROB_CHUNK_SIZE == TILE:
        return
    elsewhere = utils._use_triton  # in this module it only says whether to leave out states without a label
    utils._use_triton = lambda device: device.type == "cpu" or elsewhere(device)
    utils._CHUNKED_LOGPROB_CHUNK_SIZE = TILE
