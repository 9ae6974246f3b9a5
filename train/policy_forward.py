"""The policy's forward: what has to hold of it before its log-probabilities can be compared with the frozen base's.

Before the first update the policy and the frozen base are one function, so their log-probabilities of the first
rollout must be equal but for rounding. What makes them differ is mended here where it can be (dropout, positions of
padded prompts), refused at the start where it is known (vision models, encoders), and found by measuring otherwise.

What the rows of a batch begin with alike is read once (`PrefixSharing`), where the policy generates and learns.
"""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path
from typing import cast

import transformers
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import AutoConfig, DynamicCache, ProcessorMixin
from transformers.cache_utils import DynamicLayer
from trl import GRPOConfig

from rewards import FrozenBase
from rewards.frozen.prefix_tree import PrefixTree, can_branch, prefix_tree
from rewards.frozen.wrappers import unwrap
from train.ppo_math import kl_k3

logger = logging.getLogger(__name__)

SHARE_PREFIXES_HELP = (
    "Read what the rows of a batch begin with alike (the chat template, a group's prompt) once, when the policy "
    "generates and in its log-probabilities and updates, where that is faster; it changes numbers by rounding alone."
)

# settings of modules that make a forward in training mode random: attention_dropout, resid_pdrop, layerdrop,
# router_jitter_noise, ...
RANDOM = re.compile(r"drop|jitter")
# mean k3 (nats a token) up to which two forwards of one function may differ by rounding: in fp32, and where anything
# is computed in 16 bits (fp32 weights beside bf16 ones were measured at 0.003)
ROUNDING = {"float32": 1e-4, "half": 0.1}
CACHE_NAMES = ("cache", "past_key_values")  # what transformers calls keys and values, now and formerly
MORE_THAN_STATES = ("output_router_logits", "output_hidden_states", "output_attentions")
MOST = 1.0  # that one token counts for: in 16 bits a mixture of experts may choose another expert for a token or two


def check_model(model: str | nn.Module, processing_class, datasets: list, **load) -> None:
    """Refuse models and data that the trainers would get wrong.

    Args:
        model: the policy, or its name.
        datasets: those for training and evaluation; None among them is passed over.
        load: how its config is loaded (revision, trust_remote_code).

    Raises:
        ValueError: an adapter's folder, an encoder-decoder, an encoder, a model with a processor of images, or data
            with images.
    """
    if isinstance(model, str) and (Path(model) / "adapter_config.json").is_file():
        raise ValueError(
            f"{model} holds an adapter, not a model: merge it first (scripts/merge_adapter.py), or load it with "
            "AutoPeftModelForCausalLM.from_pretrained(folder, is_trainable=True) and pass the instance."
        )
    config = AutoConfig.from_pretrained(model, **load) if isinstance(model, str) else getattr(model, "config", None)
    name = model if isinstance(model, str) else type(unwrap(model)).__name__
    advice = "Choose a causal (decoder-only) language model, such as Qwen2.5, Llama, Gemma or Mistral."
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"{name} is an encoder-decoder, whose response is no continuation of its prompt: the frozen base cannot "
            f"score it. {advice}"
        )
    architecture = next(iter(getattr(config, "architectures", None) or []), "")
    kind = getattr(transformers, architecture, None) if isinstance(model, str) else type(unwrap(model))
    if isinstance(kind, type) and hasattr(kind, "can_generate") and not kind.can_generate():
        raise ValueError(f"{name} ({kind.__name__}) cannot generate text. {advice}")
    columns = {c for dataset in datasets for c in getattr(dataset, "column_names", None) or []}
    if isinstance(processing_class, ProcessorMixin) or columns & {"image", "images"}:
        raise ValueError(
            f"{name} would be trained on images, but the frozen base reads token ids alone, so that rewards and KL "
            "would be wrong. Train it on text: pass its tokenizer as processing_class, and data without image columns."
        )


def prepare_policy(model: nn.Module, args: GRPOConfig) -> bool:
    """Mend what makes a policy differ from the frozen base before it has learned anything: positions of padded
    prompts, and dropout unless `disable_dropout: false` asks for it.

    Returns:
        whether the two are now one function.
    """
    use_positions_of_mask(model)
    # TRL's own config leaves dropout on by default; only a config of ours can ask for it
    if not args.disable_dropout and type(args).disable_dropout:
        logger.warning(
            "disable_dropout is false: the log-probabilities of a rollout and of its update are those of random "
            "networks, so ratio and KL are noisy from the first step. Leave it out unless this is what you study."
        )
        return False
    if (rate := switch_off_dropout(model)) > 0:
        logger.info("Dropout (up to %g) is off while the policy trains; disable_dropout: false keeps it.", rate)
    return True


def switch_off_dropout(model: nn.Module) -> float:
    """Set every dropout, and every other noise in a training forward, of a model and its adapters to 0.

    The log-probabilities of the rollout are computed in training mode: with dropout the ratio of PPO compares two
    random networks. TRL's `disable_dropout` reaches `nn.Dropout` only; attention takes its rate as a number.

    Returns:
        the largest rate that there was.
    """
    largest = 0.0
    for module in model.modules():
        for rates, name in noise(module):
            largest = max(largest, float(rates[name]))
            rates[name] = 0.0
    return largest


def noise(module: nn.Module) -> list[tuple[dict, str]]:
    """Where a module itself, without those inside it, keeps rates above 0 of dropout or other noise: the dict that
    holds each, and its key there."""
    own = vars(module)
    is_dropout = "Dropout" in type(module).__name__  # nn.Dropout and BOFT's own keep it as `p`
    names = [name for name in own if RANDOM.search(name) or (is_dropout and name == "p")]
    places = [(own, name) for name in names]
    places += [(own[n], key) for n in names if isinstance(own[n], dict) for key in own[n]]  # adapters: by their name
    numbers = [(d, k) for d, k in places if isinstance(d[k], (int, float)) and not isinstance(d[k], bool)]
    return [(d, k) for d, k in numbers if d[k] > 0]


def use_positions_of_mask(model: nn.Module) -> None:
    """Have a model with learned positions count them from each prompt's first real token in every padded forward.

    TRL pads prompts on the left and passes no positions, so GPT-2 and its like would read a short prompt as if it
    began late. Models with rotary positions see distances alone and are left as they are.
    """
    lm = unwrap(model)
    positions = getattr(lm.config.get_text_config(), "max_position_embeddings", None)
    tables = [m for m in lm.modules() if isinstance(m, nn.Embedding) and m is not lm.get_input_embeddings()]
    if not positions or not any(positions <= table.num_embeddings <= positions + 8 for table in tables):
        return

    def add_positions(module, args, kwargs):
        mask = kwargs.get("attention_mask")
        if kwargs.get("position_ids") is not None or kwargs.get("past_key_values") is not None or mask is None:
            return None
        if mask.ndim == 2:
            kwargs["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
        return args, kwargs

    lm.register_forward_pre_hook(add_positions, with_kwargs=True)


class PrefixSharing:
    """Has a policy read what the rows of a batch begin with alike only once, as a `PrefixTree`, within `shared()`.

    The tree takes the place of the padded rows where the backbone begins, and its states are laid out as rows again
    where the backbone ends; so also its keys and values, when a rollout is generated and prompts are read. All around
    sees the same shapes. Where a tree would not be faster, or the architecture does not allow it, rows stay as they
    are.

    Args:
        policy: a causal LM, wrapped by PEFT or sharded or not.
        frozen_base: tells, once it has scored or checked itself, whether their architecture reads trees right.
        args: `EndoGRPOConfig`, whose `share_prefixes` may leave all rows as they are, or `trl.GRPOConfig`.
    """

    def __init__(self, policy: nn.Module, frozen_base: FrozenBase, args: GRPOConfig):
        self.lm, self.frozen_base = unwrap(policy), frozen_base
        self.wanted = getattr(args, "share_prefixes", True)
        # a compiled model has no room for sizes that depend on the data
        alike = type(self.lm) is type(unwrap(frozen_base.model)) and can_branch(self.lm)
        self._may = self.wanted and alike and not args.torch_compile
        self._active = False
        self._begun: tuple[PrefixTree, DynamicCache | None, DynamicCache | None] | None = None
        if self._may:
            self.lm.base_model.register_forward_pre_hook(self._before, with_kwargs=True)
            self.lm.base_model.register_forward_hook(self._after)

    @contextlib.contextmanager
    def shared(self):
        """Within this forwards read trees."""
        self._active = self._may and self.frozen_base.reads_trees
        try:
            yield
        finally:
            self._active = False

    def _before(self, module: nn.Module, args: tuple, kwargs: dict):
        """The backbone's arguments for a tree in place of those for rows; None where rows stay."""
        self._begun = None
        ids, mask = kwargs.get("input_ids"), kwargs.get("attention_mask")
        if not self._active or args or ids is None or mask is None or mask.shape != ids.shape or 1 in ids.shape:
            return None
        if any(kwargs.get(name) or getattr(self.lm.config, name, False) for name in MORE_THAN_STATES):
            return None
        caches = {name: kwargs[name] for name in CACHE_NAMES if kwargs.get(name) is not None}
        if any(type(cache) is not DynamicCache or cache.get_seq_length() for cache in caches.values()):
            return None
        if kwargs.get("use_cache") and not caches:
            return None
        # what else belongs to single tokens of rows, such as their types, is not known to be in a tree's order
        others = kwargs.keys() - {"input_ids", "attention_mask", "position_ids", *caches}
        if any(isinstance(kwargs[name], Tensor) and kwargs[name].ndim > 1 for name in others):
            return None
        tree = prefix_tree(ids, mask, self.lm.config.get_text_config().hidden_size)
        if tree is None:
            return None
        own = {name: DynamicCache(config=self.lm.config) for name in caches}
        self._begun = tree, next(iter(caches.values()), None), next(iter(own.values()), None)
        return args, {k: v for k, v in kwargs.items() if k != "cache_position"} | tree.inputs(self.lm) | own

    def _after(self, module: nn.Module, args: tuple, output):
        """The states of rows in place of those of a tree, and keys and values in the cache that rows were to fill."""
        if self._begun is None:
            return None
        (tree, cache, own), self._begun = self._begun, None
        output.last_hidden_state = tree.rows(output.last_hidden_state)
        if cache is not None and own is not None:
            for i, layer in enumerate(cast(list[DynamicLayer], own.layers)):
                both = (cast(Tensor, layer.keys), cast(Tensor, layer.values))
                keys, values = (tree.rows(x.transpose(1, 2)).transpose(1, 2) for x in both)
                cache.update(keys, values, i)
            output[next(name for name in CACHE_NAMES if name in output)] = cache
        return output


def check_same_function(
    log_probs: Tensor, ref_log_probs: Tensor, mask: Tensor, padded: Tensor, exact: bool, model: nn.Module
) -> None:
    """Compare the untrained policy's log-probabilities of the first rollout with the frozen base's.

    Args:
        log_probs, ref_log_probs, mask: (B, T).
        padded: (B,) bool, whether a row's prompt was padded in the policy's forward.
        exact: whether both were computed in fp32 throughout.

    Raises:
        ValueError: they differ by more than rounding; the message names the likely cause.
    """
    limit = ROUNDING["float32" if exact else "half"]
    k3 = kl_k3(log_probs.float(), ref_log_probs).clamp(max=MOST) * mask
    found = k3.sum() / mask.sum().clamp(min=1)
    if bool(found <= limit) or not bool(mask.any()):
        return
    share = (k3.sum(dim=1) / mask.sum(dim=1).clamp(min=1) > limit).float()
    plain = share[~padded].mean() if bool((~padded).any()) else share.new_tensor(0.0)
    adapted = any(isinstance(m, BaseTunerLayer) for m in model.modules())
    if bool(padded.any()) and bool(share[padded].mean() > 0.5) and bool(plain < 0.5):
        cause = (
            "rows whose prompt was padded on the left differ and the others do not, so this architecture reads "
            "padding or its positions. Use prompts of one length, or another model"
        )
    elif adapted:
        cause = "the adapter is not what it was when it was loaded, or it acts differently in training mode"
    else:
        cause = (
            "dropout that could not be switched off, another dtype (set dtype and frozen_dtype alike), weights "
            "changed since they were loaded (name the frozen base with frozen_base), or an architecture that is noisy "
            "by itself"
        )
    raise ValueError(
        f"The untrained policy and the frozen base are one model, yet their log-probabilities of the first rollout "
        f"differ: k3 is {float(found):.3g} nats a token, and rounding explains {limit:g}. Likely cause: {cause}."
    )
