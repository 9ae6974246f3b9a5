"""Where TRL does something that its settings cannot change: every reach into its private names, with the reason.

**The head on a CPU.** Where there is no Triton, TRL 1.16 puts the states of prompts through the head too, in tiles of
4,096 states by 32,768 vocabulary entries: half a gibibyte, which no cache holds. Both are globals of its module. TRL
would have to leave states without a label out on every device, and to make the tile a setting.

**Messages.** TRL prints all columns of the first response that has no reward, in every rollout that has one. It would
have to say so once, or as a metric.
"""

import logging

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


class _Once(logging.Filter):
    """Lets the first message with given words through, and no other that has them."""

    def __init__(self, words: str):
        super().__init__()
        self.words, self.said = words, False

    def filter(self, record: logging.LogRecord) -> bool:
        if self.words not in record.getMessage():
            return True
        first, self.said = not self.said, True
        return first


_NO_REWARD = _Once("All reward functions returned None")


def say_once_that_no_reward_applies() -> None:
    """Have TRL tell the first time only of a response to which no reward applies; their share is a metric."""
    logger = logging.getLogger("trl.trainer.grpo_trainer")
    if _NO_REWARD not in logger.filters:
        logger.addFilter(_NO_REWARD)
