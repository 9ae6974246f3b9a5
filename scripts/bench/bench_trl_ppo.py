"""Time TRL 1.12's own PPOTrainer, the last one that TRL had, with EndoRM or a classifier as its reward model.

    pip install --no-deps --target outputs/trl112 trl==1.12.0
    PYTHONPATH=outputs/trl112:. python scripts/bench/bench_trl_ppo.py --model outputs/demo/base \
      --dataset outputs/demo/data/train.jsonl --rollouts 5 --output trl_ppo.json

Everything but TRL is what is installed. The policy, a critic, a reference and, unless it is the reference, a reward
model are copies of one base. Seconds are per rollout, with its updates; the warm-up is not among them.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
import trl
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PrinterCallback,
    set_seed,
)

from rewards import EndoRM, FrozenBase, PPORewardModel
from train.cost.legacy_trl import FOLDER, INSTALL, PPOClock
from train.cost.step_clock import model_bytes
from train.cost.stopwatch import extra_memory, measurement
from train.tasks.arithmetic_evaluation import read_prompts


def train(args) -> dict:
    """One training, timed.

    Raises:
        SystemExit: the imported TRL has no PPOTrainer.
    """
    try:
        from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer
    except ImportError as error:
        missing = f"TRL {trl.__version__} has no PPOTrainer. Install the last one that has it beside it, with"
        raise SystemExit(f"{missing}\n    {INSTALL}\nand run this with PYTHONPATH={FOLDER}:.") from error
    set_seed(args.seed)
    load = {"dtype": torch.float32}
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(args.model, **load) for _ in range(2))
    value = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1, **load)
    prompts = tokenizer(read_prompts(args.dataset, None))["input_ids"]
    prompt_length = max(map(len, prompts))
    if args.reward == "model":
        reward = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=1, **load)
        network = getattr(reward, reward.base_model_prefix)
    else:
        shared = args.reward == "endorm_shared"
        network = reference if shared else AutoModelForCausalLM.from_pretrained(args.model, **load)
        reward = PPORewardModel(EndoRM(FrozenBase(network), tokenizer), prompt_length)

    networks = {"policy": policy, "value": getattr(value, value.base_model_prefix), "reference": reference}
    if network is not reference:
        networks["reward"] = network
    clock = PPOClock(ppo_trainer, args.warm_up, reference, reward, networks)
    with tempfile.TemporaryDirectory() as scratch:
        settings = {
            # accumulation would spread one optimizer step over several minibatches, so a rollout is one batch
            "per_device_train_batch_size": args.batch,
            "local_rollout_forward_batch_size": args.batch,
            "num_mini_batches": args.minibatches,
            "num_ppo_epochs": args.epochs,
            "total_episodes": (args.warm_up + args.rollouts) * args.batch,
            "response_length": args.max_completion_length,
            "stop_token": "eos",
            "temperature": args.temperature,
            "learning_rate": args.learning_rate,
            "lr_scheduler_type": "linear",
            "kl_coef": args.kl_coef,
            "num_sample_generations": 0,
            "gradient_checkpointing": False,
            "bf16": False,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": args.seed,
            "output_dir": scratch,
        }
        padded = tokenizer.pad({"input_ids": prompts}, padding="max_length", max_length=prompt_length)["input_ids"]
        trainer = PPOTrainer(
            args=PPOConfig(**settings | args.fields),
            processing_class=tokenizer,
            model=policy,
            ref_model=reference,
            reward_model=reward,
            value_model=value,
            train_dataset=Dataset.from_dict({"input_ids": padded}),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    if args.save:
        policy.save_pretrained(args.save)
        tokenizer.save_pretrained(args.save)
        trainer.state.save_to_json(args.save / "trainer_state.json")
    models = (policy, reference, value, reward, network)
    return clock.results(args.batch) | {"model_bytes": model_bytes(models, [trainer.optimizer])}


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or name of the base")
    parser.add_argument("--dataset", type=Path, required=True, help='JSON lines {"prompt": text}')
    parser.add_argument("--reward", choices=["endorm", "endorm_shared", "model"], default="endorm")
    parser.add_argument("--batch", type=int, default=128, help="responses in a rollout")
    parser.add_argument("--minibatches", type=int, default=2, help="optimizer steps in an epoch")
    parser.add_argument("--epochs", type=int, default=2, help="PPO epochs")
    parser.add_argument("--max_completion_length", type=int, default=8, help="tokens")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--learning_rate", type=float, default=2e-4, help="falls to 0 along a line")
    parser.add_argument("--kl_coef", type=float, default=0.01)
    parser.add_argument("--fields", type=json.loads, default={}, help="other fields of TRL's PPOConfig, as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm_up", type=int, default=1, help="rollouts that are not timed")
    parser.add_argument("--rollouts", type=int, default=5, help="rollouts that are timed")
    parser.add_argument("--save", type=Path, help="folder for the trained policy")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    args = parser.parse_args()
    result = {}
    peak = extra_memory(lambda: result.update(train(args)))
    settings = {k: v for k, v in vars(args).items() if k not in ("save", "output", "dataset")}
    result |= {"peak_bytes": peak} | measurement(settings)
    text = json.dumps(result, indent=1)
    print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
