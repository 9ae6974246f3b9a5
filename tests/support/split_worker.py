"""One of one or more CPU processes: PPO on eight fixed prompts, spread over processes and batches as it is told.

python -m torch.distributed.run --nproc_per_node 2 tests/support/split_worker.py MODEL_FOLDER OUTPUT SETTINGS_JSON
"""

import json
import sys
import zlib
from pathlib import Path

import torch
import torch.distributed as dist
from datasets import Dataset
from safetensors.torch import save_file

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from helpers import ppo  # noqa: E402

from rewards import EndoRM  # noqa: E402

PROMPT_TEXTS = ["ab", "cde", "f", "gh=", "ijk", "l", "mn", "o+p"]
ORDERS = {"as they are": range(8), "another": [5, 2, 7, 0, 3, 6, 1, 4]}


def said(prompts, trainer):
    """Responses that depend on the prompt and the step alone, of different lengths, most of them ended."""
    tokenizer, ids = trainer.processing_class, []
    for prompt in prompts:
        key = zlib.crc32(f"{prompt} {trainer.state.global_step}".encode())
        generator = torch.Generator().manual_seed(key)
        ids.append(torch.randint(5, 90, (3 + key % 9,), generator=generator).tolist() + [2] * (key % 4 > 0))
    return {"prompt_ids": [tokenizer(p)["input_ids"] for p in prompts], "completion_ids": ids, "logprobs": None}


def first_alone(prompts, **_):
    return [float(p == PROMPT_TEXTS[0]) for p in prompts]


def main(folder: str, output: str, settings: str) -> None:
    torch.set_num_threads(1)
    settings = json.loads(settings)
    data = Dataset.from_dict({"prompt": [PROMPT_TEXTS[i] for i in ORDERS[settings.pop("order", "as they are")]]})
    kwargs = {"train_dataset": data, "rollout_func": said, "eval_dataset": data.select(range(5))}
    common = {"shuffle_dataset": False, "max_steps": 6, "learning_rate": 1e-3, "max_completion_length": 12}
    rewards = {"rewards": [EndoRM(), first_alone], "reward_weights": [1.0, 0.0]}
    trainer = ppo(folder, output, trainer_kwargs=kwargs, **(common | rewards | settings))
    trainer.train()
    heldout = trainer.evaluate()
    if trainer.accelerator.is_main_process:
        weights = {f"policy.{n}": p.detach().contiguous() for n, p in trainer.model.named_parameters()}
        weights |= {f"critic.{n}": p.detach().contiguous() for n, p in trainer.critic.critic.state_dict().items()}
        save_file(weights, Path(output) / "weights.safetensors")
        Path(output, "heldout.json").write_text(json.dumps(heldout))


if __name__ == "__main__":
    main(*sys.argv[1:])
    if dist.is_initialized():
        dist.destroy_process_group()
