"""Where TRL does something that its settings cannot change: each with the reason."""

import contextlib
import logging


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


# TRL prints all columns of the first response that has no reward, in every rollout that has one.
_NO_REWARD = _Once("All reward functions returned None")


@contextlib.contextmanager
def say_once_that_no_reward_applies():
    """In here TRL tells the first time only of a response to which no reward applies; their share is a metric."""
    logger = logging.getLogger("trl.trainer.grpo_trainer")
    logger.addFilter(_NO_REWARD)
    try:
        yield
    finally:
        logger.removeFilter(_NO_REWARD)
