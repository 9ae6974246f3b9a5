"""What both entry scripts share: reading a recipe, rewards by name, tokenizer, run-up and saving."""

import inspect
import json
import logging
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

import torch
import yaml
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.trainer_callback import ProgressCallback
from trl import ModelConfig, TrlParser

from rewards import EndoRM, FrozenReward, get_reward
from train.checkpoints import newest_complete
from train.console import ConsoleCallback
from train.grpo_trainer import EndoGRPOConfig
from train.ppo_trainer import PPOConfig
from train.prompts import DataArguments
from train.reward_mix import hint, rewards_of_recipe

logger = logging.getLogger(__name__)


@dataclass
class RewardArguments:
    """Which rewards, and the settings of EndoRM (arXiv 2506.23235)."""

    reward_funcs: list[str] = field(
        default_factory=lambda: ["endorm"],
        metadata={
            "help": "Rewards by registered name or dotted path. reward_weights weighs them; weight 0 only logs one."
        },
    )
    rewards: list[dict] | str | None = field(
        default=None,
        metadata={
            "help": "Rewards with settings and shaping of their own, in place of reward_funcs, reward_weights, "
            "endorm_* and judge_*: [{name: endorm, discount: 0.95}, {name: accuracy, weight: 0.5}]; JSON on the "
            "command line."
        },
    )
    endorm_alpha: float = field(default=1.0, metadata={"help": "Temperature of the soft value V."})
    endorm_discount: float = field(default=1.0, metadata={"help": "Token h weighs max(discount^h, floor)."})
    endorm_floor: float = field(default=0.0, metadata={"help": "Least weight of a token."})
    endorm_form: str = field(
        default="reward", metadata={"help": "Q(s,a) - V(s'), or alpha * log pi.", "choices": ["reward", "logprob"]}
    )
    endorm_reduce: str = field(
        default="sum", metadata={"help": "Aggregate of token rewards.", "choices": ["sum", "mean"]}
    )
    endorm_terminal: str = field(
        default="uniform",
        metadata={
            "help": "V after a complete response: alpha log|vocab|, 0, or what the base says.",
            "choices": ["uniform", "zero", "bootstrap"],
        },
    )
    endorm_system_prompt: str | None = field(
        default=None,
        metadata={"help": "Criterion to judge by, in place of the system message; costs a frozen forward of its own."},
    )
    judge_model: str | None = field(
        default=None,
        metadata={"help": "Model of a judge among reward_funcs (generative_verifier, trained_reward, ...)."},
    )
    judge_settings: dict | str | None = field(
        default=None,
        metadata={"help": "Its settings as from_pretrained takes them, e.g. {endpoint: http://localhost:8000/v1}."},
    )
    frozen_base: str | None = field(
        default=None,
        metadata={"help": "Model that rewards and anchors, with the policy's tokenizer; default the policy itself."},
    )
    frozen_dtype: str | None = field(
        default=None,
        metadata={
            "help": "Its dtype; default the policy's. Another one adds a KL of its own, about 0.003 nats a token."
        },
    )
    frozen_batch_tokens: int = field(default=8192, metadata={"help": "Padded tokens in one frozen forward."})
    eos_token: str | None = field(
        default=None, metadata={"help": "End token in place of the tokenizer's, e.g. <|im_end|> for chat prompts."}
    )


def parse_recipe(*dataclass_types):
    """Dataclasses from `--config RECIPE.yaml` and the command line, which wins.

    Raises:
        SystemExit: for a field that does not exist, with the fields that are spelt alike.
    """
    parser = TrlParser(dataclass_types)
    known = [f for cls in dataclass_types for f in cls.__dataclass_fields__]
    try:
        *parsed, unknown_in_file, unknown_on_line = parser.parse_args_and_config(
            return_remaining_strings=True, separate_remaining_strings=True
        )
    except FileNotFoundError as error:
        parser.error(f"{error.filename} does not exist: give --config an existing recipe, such as those in configs/.")
    unknown = [s.lstrip("-").split("=")[0] for s in [*unknown_in_file, *unknown_on_line] if s.startswith("--")]
    if unknown:
        hints = "; ".join(hint(name, known) for name in unknown)
        parser.error(f"the recipe or command line has fields that do not exist: {hints}. See --help.")
    if unknown_in_file or unknown_on_line:
        parser.error(f"cannot understand {' '.join([*unknown_in_file, *unknown_on_line])}")
    return parsed


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


def build_rewards(args: RewardArguments) -> list:
    """The recipe's reward functions. The trainer lends a `FrozenReward` its frozen base; a judge has its own model.

    Raises:
        ValueError: a judge without a model, or both `rewards` and the fields that it replaces.
    """
    if args.rewards is not None:
        defaults = {f.name: f.default if f.default is not MISSING else f.default_factory() for f in fields(args)}
        replaced = [n for n in defaults if n.startswith(("reward_funcs", "endorm_", "judge_"))]
        if both := [n for n in replaced if getattr(args, n) != defaults[n]]:
            raise ValueError(
                f"The recipe has both rewards and {', '.join(both)}: say it in the entries of rewards, and leave "
                f"{', '.join(both)} out."
            )
        return rewards_of_recipe(args.rewards)
    settings = args.judge_settings or {}
    settings = json.loads(settings) if isinstance(settings, str) else settings
    functions = []
    for name in args.reward_funcs:
        reward = get_reward(name)
        is_class = inspect.isclass(reward)
        if is_class and hasattr(reward, "from_pretrained") and not issubclass(reward, FrozenReward):
            if args.judge_model is None:
                raise ValueError(f"The reward {name} judges with a model of its own: set judge_model.")
            reward = reward.from_pretrained(args.judge_model, **settings)
        elif reward is EndoRM:
            prefix = "endorm_"
            reward = reward(**{k.removeprefix(prefix): v for k, v in vars(args).items() if k.startswith(prefix)})
        elif is_class:
            reward = reward()
        functions.append(reward)
    return functions


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


def read_recipe(path: Path) -> dict:
    """The fields of a recipe over the defaults of the entry script that takes it, for plans: nothing is checked. The
    field `algorithm` is added, "ppo" or "grpo"."""
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    algorithm = "grpo" if "beta" in given else "ppo"
    types = (PPOConfig if algorithm == "ppo" else EndoGRPOConfig, ModelConfig, DataArguments, RewardArguments)
    defaults = {f.name: f.default for t in types for f in fields(t)}
    defaults["bf16"] = True  # TRL's own default, where the recipe says nothing
    return defaults | given | {"algorithm": algorithm}


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


def use_console(trainer) -> None:
    """Print one line of metrics a logging step."""
    if not trainer.args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(ConsoleCallback)


def finish(trainer) -> None:
    """Save the policy, its tokenizer, the trainer's state and the metrics in output_dir."""
    trainer.save_model()
    trainer.save_state()
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.distributed_type != "NO" and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
