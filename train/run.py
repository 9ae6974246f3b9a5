"""The story of a training, which both entry scripts share: it reads from top to bottom."""

import logging

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.trainer_callback import ProgressCallback
from trl import ModelConfig, get_peft_config, get_quantization_config

from rewards.frozen.encoding import template_end
from train.checkpoints import newest_complete
from train.generation.turns import TurnArguments
from train.grpo_trainer import EndoGRPOTrainer
from train.launcher import check_launcher, launching_command, start_process_group, take_folder, tell_batch
from train.prompts import DataArguments, load_heldout, load_prompts
from train.recipe import CONFIGS, RecipeArguments, parse_recipe
from train.recipe_rewards import RewardArguments, add_watched, build_rewards
from train.tracking import ConsoleCallback, RunFolder, Trackers, TrackingArguments
from train.watches import WatchArguments, Watches

logger = logging.getLogger(__name__)


def run(algorithm: str, trainer_class: type[EndoGRPOTrainer]) -> None:
    """Train as the command line and its recipe say.

    Args:
        algorithm: "ppo" or "grpo".
        trainer_class: the trainer of that algorithm.
    """
    types = (CONFIGS[algorithm], ModelConfig, DataArguments, RewardArguments, TurnArguments, TrackingArguments)
    args, model, data, reward, turns, tracking, watch, recipe = parse_recipe(*types, WatchArguments, RecipeArguments)
    if recipe.algorithm not in (None, algorithm):
        raise SystemExit(
            f"The recipe has algorithm: {recipe.algorithm}; run train/{recipe.algorithm}_endorm.py with it."
        )
    recipe.algorithm = algorithm
    logging.basicConfig(level=logging.INFO if args.process_index == 0 else logging.ERROR)
    tracking.set_environment()
    lock = take_folder(args.output_dir) if args.process_index == 0 else None
    trackers = Trackers(args, tracking.run_project)
    start_process_group()

    args.model_init_kwargs = model_init_kwargs(model)
    tokenizer = load_tokenizer(model, reward.eos_token, args.trust_remote_code)
    dataset, counts = load_prompts(data, tokenizer, args.chat_template_kwargs)
    heldout = load_heldout(data, tokenizer, args.chat_template_kwargs)
    rewards = build_rewards(reward)
    if heldout is None:
        args.eval_strategy = "no"
    else:
        rewards, args.reward_weights = add_watched(rewards, args.metric_for_best_model, args.reward_weights)

    trainer = trainer_class(
        model=model.model_name_or_path,
        reward_funcs=rewards,
        args=args,
        frozen_base=reward.frozen_base,
        frozen_dtype=reward.frozen_dtype,
        batch_tokens=reward.frozen_batch_tokens,
        train_dataset=dataset,
        eval_dataset=heldout,
        processing_class=tokenizer,
        peft_config=get_peft_config(model),
        quantization_config=get_quantization_config(model),
        **turns.load(),
    )
    check_positions(trainer, counts["longest_prompt"])
    warn_of_other_end(trainer)
    check_launcher(trainer.accelerator)
    tell_batch(args, trainer.accelerator.num_processes, launching_command())
    use_console(trainer)
    trainer.add_callback(RunFolder(trainer, model, data, reward, turns, tracking, watch, recipe))
    trainer.add_callback(Watches(trainer, watch))
    trackers.attach(trainer)

    trainer.train(resume_from_checkpoint=checkpoint_to_resume(args))
    finish(trainer)
    if lock is not None:
        lock.close()


def load_tokenizer(
    model: ModelConfig, eos_token: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The policy's tokenizer, padding on the left, with the recipe's end token.

    Raises:
        ValueError: no model was named, or the end token is not in the vocabulary.
    """
    if not model.model_name_or_path:
        raise ValueError("No model: set model_name_or_path in the recipe or on the command line.")
    tokenizer = AutoTokenizer.from_pretrained(
        model.model_name_or_path,
        revision=model.model_revision,
        trust_remote_code=trust_remote_code,
        padding_side="left",
        truncation_side="left",
    )
    if eos_token is not None:
        if eos_token not in tokenizer.get_vocab():
            raise ValueError(f"eos_token {eos_token!r} is not in the vocabulary of {model.model_name_or_path}.")
        tokenizer.eos_token = eos_token
    return tokenizer


def model_init_kwargs(model: ModelConfig) -> dict:
    """What TRL passes to `from_pretrained` for the policy."""
    return {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
        "use_safetensors": True,  # nothing from a model file is executed
    }


def checkpoint_to_resume(args) -> str | None:
    """`resume_from_checkpoint` as a folder: a path, or the newest complete one in output_dir for `latest` or `true`.

    With `latest` and no checkpoint yet, training starts afresh. Whether a run may go on from the checkpoint is for
    the trainer to check.
    """
    wanted = args.resume_from_checkpoint
    if wanted is None or str(wanted).lower() in ("false", "none"):
        return None
    if str(wanted).lower() in ("true", "latest"):
        found = newest_complete(args.output_dir)
        logger.warning("Resuming from %s", found or "nothing: no checkpoint yet, starting afresh")
        return found
    return wanted


def check_positions(trainer, longest_prompt: int) -> None:
    """Refuse a run whose longest prompt and response would not fit into the model's positions.

    Raises:
        ValueError: with the two lengths and the fields to lower.
    """
    positions = getattr(trainer.model.config.get_text_config(), "max_position_embeddings", None)
    if positions and longest_prompt + trainer.args.max_completion_length > positions:
        raise ValueError(
            f"The longest prompt has {longest_prompt} tokens and responses may have "
            f"{trainer.args.max_completion_length}, but the model has {positions} positions: lower max_prompt_length "
            "or max_completion_length."
        )


def warn_of_other_end(trainer) -> None:
    """Say so where the chat template ends an answer by a token at which the policy does not stop: a base model then
    goes on after its turn, and EndoRM rates responses given as text by another end than the policy's."""
    end = template_end(trainer.processing_class)
    chat = not isinstance(next(iter(trainer.train_dataset))["prompt"], str)
    if chat and end is not None and end not in trainer.eos_token_ids:
        token = trainer.processing_class.convert_ids_to_tokens(end)
        logger.warning(
            "The chat template ends an answer by %s, at which the policy does not stop: set eos_token: %s.",
            token,
            token,
        )


def use_console(trainer) -> None:
    """Print one line of metrics a logging step."""
    if not trainer.args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(ConsoleCallback(trainer.reward_func_names))


def finish(trainer) -> None:
    """Save the policy, its tokenizer, the trainer's state and the metrics in output_dir."""
    trainer.save_model()
    trainer.save_state()
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.distributed_type != "NO" and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
