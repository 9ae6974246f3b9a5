"""Responses of a model to prompts, kept as JSON Lines: killed and restarted, generation goes on to the same end.

The work is split into batches that depend on the settings alone, each with seeds of its own. After a restart a file
holds whole batches, so it ends up the same, byte for byte, as without the kill (on the same device and versions).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import AutoPeftModelForCausalLM
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from rewards.frozen.encoding import encode_prompt, template_end
from rewards.frozen.loading import default_device, load_causal_lm
from rewards.frozen.score_cache import adapter_files, hash_files, model_fingerprint, optional_file

TEXT_FILES = [  # of a model, those that decide how its tokens are read, written and ended
    GENERATION_CONFIG_NAME,
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("chat_template.jinja", "chat_template.json"),
]


@dataclass(frozen=True)
class Decoding:
    """How responses are drawn.

    Attributes:
        samples: responses to each prompt.
        temperature: 0 is greedy.
        top_p: smallest set of tokens with so much probability; 1 for all. No top-k, no penalties.
        max_tokens: of a response; one that has not ended by then is cut off.
        seed: of the whole evaluation.
        batch_size: prompts in one batch. Part of the settings: padding and seeds depend on it.
    """

    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        if min(self.samples, self.max_tokens, self.batch_size) < 1:
            raise ValueError("samples, max_tokens and batch_size must be 1 or more")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise ValueError("temperature must be 0 (greedy) or more, and top_p lie in (0, 1]")
        if self.temperature == 0 and self.samples > 1:
            raise ValueError("greedy decoding gives the same response every time: use samples 1, or a temperature")


def is_adapter(model: str) -> bool:
    """Whether a folder holds a LoRA adapter."""
    return (Path(model) / "adapter_config.json").is_file()


def fingerprint(model: str) -> str:
    """Hash that changes with all that decides a model's responses to given token ids: its weights, of an adapter also
    those of its base, and the files that say which tokens end a response and how tokens are written."""
    if not is_adapter(model):
        return model_fingerprint(model) + hash_files(_found(model, TEXT_FILES))
    adapter = adapter_files(model)
    config = json.loads(adapter[0].read_text(encoding="utf-8"))
    base, revision = config["base_model_name_or_path"], config.get("revision")
    files = [*adapter, *_found(model, TEXT_FILES), *_found(base, [GENERATION_CONFIG_NAME], revision)]
    return model_fingerprint(base, revision) + hash_files(files)


def _found(model: str, names: Sequence[str], revision: str | None = None) -> list[Path]:
    return [path for name in names if (path := optional_file(model, name, revision))]


def end_ids(tokenizer, config: GenerationConfig) -> set[int]:
    """Tokens that end a response: those that model and tokenizer declare, and the one that the chat template puts
    after an answer (a base model declares none for chats, and would write on after <|im_end|>)."""
    declared = config.eos_token_id
    declared = declared if isinstance(declared, list) else [declared]
    return {tokenizer.eos_token_id, template_end(tokenizer), *declared} - {None}


class TransformersSampler:
    """Generation by transformers, on one device.

    Args:
        model: name or folder, also of a LoRA adapter, which is merged into its base.
        dtype: "auto" (the checkpoint's), "float32" or "bfloat16".
        device: default CUDA where there is one, else the CPU.
        trust_remote_code: run Python code that comes with the model.
    """

    def __init__(self, model: str, dtype: str = "auto", device: str | None = None, trust_remote_code: bool = False):
        if is_adapter(model):
            settings: dict[str, Any] = {
                "dtype": dtype,
                "use_safetensors": True,
                "trust_remote_code": trust_remote_code,
            }
            merged = AutoPeftModelForCausalLM.from_pretrained(model, **settings).merge_and_unload()
            self.model = merged.to(default_device(device)).eval()
        else:
            self.model, _ = load_causal_lm(model, dtype, device, trust_remote_code)
        self.tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
        self.ends = end_ids(self.tokenizer, self.model.generation_config)

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], how: Decoding) -> list[list[int]]:
        """Token ids of one response to each prompt, end token included where it ended. The first seed is used.

        Raises:
            ValueError: prompt and response would not fit into the model's positions.
        """
        width = max(map(len, prompts))
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if positions and width + how.max_tokens > positions:
            raise ValueError(
                f"a prompt has {width} tokens and its response may have {how.max_tokens}, but the model has "
                f"{positions} positions: lower max_tokens to {max(0, positions - width)} or less, or drop the problem"
            )
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(self.ends, default=0)
        ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.model.device)
        torch.manual_seed(seeds[0])
        drawn = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
        neutral = {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50}  # silences its warnings
        config = GenerationConfig(
            max_new_tokens=how.max_tokens,
            repetition_penalty=1.0,
            num_beams=1,
            eos_token_id=sorted(self.ends) or None,
            pad_token_id=pad,
            **(drawn if how.temperature else neutral),
        )
        out = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        return [cut(row, self.ends) for row in out[:, width:].tolist()]


class VLLMSampler:
    """Generation by vLLM (`pip install -e .[vllm]`), with a seed for each response. Arguments as above, no adapters.

    Raises:
        ImportError: vLLM is not installed.
        ValueError: an adapter.
    """

    def __init__(self, model: str, dtype: str = "auto", device: str | None = None, trust_remote_code: bool = False):
        if is_adapter(model):
            raise ValueError(f"{model} is an adapter: merge it with scripts/merge_adapter.py, or use transformers")
        try:
            from vllm import LLM
        except ImportError as error:
            message = "vLLM is not installed: pip install -e .[vllm], or use the transformers backend"
            raise ImportError(message) from error
        if dtype == "auto":  # to vLLM it means half precision, also of a checkpoint in fp32
            checkpoint = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code).dtype
            dtype = str(checkpoint or torch.float32).removeprefix("torch.")
        self.model = LLM(model=model, dtype=dtype, trust_remote_code=trust_remote_code)
        self.tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
        try:
            declared = GenerationConfig.from_pretrained(model)
        except OSError:  # a model need not have one
            declared = GenerationConfig()
        self.ends = end_ids(self.tokenizer, declared)

    def __call__(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], how: Decoding) -> list[list[int]]:
        """As `TransformersSampler`, each response with its own seed."""
        from vllm import SamplingParams

        shared = {"max_tokens": how.max_tokens, "stop_token_ids": sorted(self.ends), "top_p": how.top_p}
        params = [SamplingParams(temperature=how.temperature, seed=seed, **shared) for seed in seeds]
        outputs = self.model.generate([{"prompt_token_ids": list(p)} for p in prompts], params)
        return [list(output.outputs[0].token_ids) for output in outputs]


SAMPLERS = {"transformers": TransformersSampler, "vllm": VLLMSampler}


def cut(ids: list[int], ends: set[int]) -> list[int]:
    """Token ids up to and including the first end token."""
    return ids[: next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))]


def check_settings(path: Path, settings: dict) -> None:
    """Write the settings beside the samples, or compare them with those that are there.

    Raises:
        ValueError: samples made with other settings; the message names each difference.
    """
    settings = json.loads(json.dumps(settings))
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    names = sorted(set(found) | set(settings))
    other = [f"{n} {found.get(n)!r} -> {settings.get(n)!r}" for n in names if found.get(n) != settings.get(n)]
    if other:
        raise ValueError(
            f"{path.parent} holds samples made with other settings: {'; '.join(other)}. Use the old settings, "
            "another --output, or remove the folder"
        )


def batches(
    ids: Sequence[str], prompts: Sequence[Sequence[int]], how: Decoding
) -> Iterator[list[tuple[int, int, int]]]:
    """Batches of (problem, sample, seed), long prompts first so that a batch too large fails at once."""
    order = sorted(range(len(ids)), key=lambda i: -len(prompts[i]))
    jobs = [(i, s, int(_hash(f"{how.seed} {s} {ids[i]}")[:8], 16)) for i in order for s in range(how.samples)]
    for start in range(0, len(jobs), how.batch_size):
        yield jobs[start : start + how.batch_size]


def sample(
    path: str | Path,
    model: str,
    ids: Sequence[str],
    prompts: Sequence[str | list[dict]],
    how: Decoding,
    load: Callable[[], TransformersSampler | VLLMSampler],
    progress: bool = True,
    trust_remote_code: bool = False,
    chat_template_kwargs: dict | None = None,
    **settings,
) -> list[dict]:
    """Draw what is missing in a file of samples, and return all of it.

    Args:
        path: the .jsonl file; its settings lie beside it.
        model: name or folder; its fingerprint is among the settings.
        ids, prompts: of the problems, as `rewards.frozen.encoding.encode_prompt` takes them.
        load: called for the sampler if, and only if, something is missing.
        progress: show a progress bar, of responses.
        trust_remote_code: run Python code that comes with the tokenizer.
        chat_template_kwargs: variables for the chat template, such as {"enable_thinking": False}.
        settings: further ones that a file is tied to, such as backend and dtype.

    Returns:
        Rows sorted by problem and sample: "id", "sample", "text", "token_ids", "finished" (an end token was drawn).

    Raises:
        ValueError: the file was made with other settings.
    """
    path = Path(path)
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
    encoded = [encode_prompt(tokenizer, prompt, chat_template_kwargs=chat_template_kwargs) for prompt in prompts]
    if chat_template_kwargs:
        settings["chat_template_kwargs"] = chat_template_kwargs
    facts = {"model": fingerprint(model), "prompts": _hash(json.dumps([list(ids), encoded])), **asdict(how)}
    check_settings(path.with_suffix(".settings.json"), facts | settings)
    done = (
        path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    )  # what follows the last line break is half a line
    missing: list[list[tuple[int, int, int]]] = []
    whole = 0
    for batch in batches(ids, encoded, how):
        if not missing and whole + len(batch) <= len(done):
            whole += len(batch)
        else:
            missing.append(batch)
    if missing:
        if path.exists():
            os.truncate(path, sum(len(line) + 1 for line in done[:whole]))
        draw, total = load(), len(ids) * how.samples
        bar = tqdm(
            total=total,
            initial=whole,
            desc=f"sampling {path.name.partition('.')[0]}",
            unit="response",
            disable=not progress,
        )
        with path.open("ab") as file, bar:
            for batch in missing:
                drawn = draw([encoded[i] for i, _, _ in batch], [seed for _, _, seed in batch], how)
                rows = [_row(ids[i], s, out, draw) for (i, s, _), out in zip(batch, drawn, strict=True)]
                file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
                file.flush()
                bar.update(len(batch))
    place = {i: n for n, i in enumerate(ids)}
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    return sorted(rows, key=lambda row: (place[row["id"]], row["sample"]))


def _row(problem: str, number: int, out: list[int], sampler) -> dict:
    text = sampler.tokenizer.decode(out, skip_special_tokens=True)
    return {
        "id": problem,
        "sample": number,
        "text": text,
        "token_ids": out,
        "finished": bool(out) and out[-1] in sampler.ends,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
