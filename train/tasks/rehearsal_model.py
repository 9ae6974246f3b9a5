"""A tiny random Qwen2 with a tokenizer and a chat template of its own, to rehearse any recipe without a model hub."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from train.tasks.bpe_tokenizer import train_tokenizer

ROOT = Path(__file__).resolve().parents[2]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_rehearsal_model(
    texts: Iterable[str],
    output: str | Path,
    *,
    vocab_size: int = 2048,
    hidden_size: int = 64,
    layers: int = 2,
    heads: int = 2,
    kv_heads: int = 1,
    max_position_embeddings: int = 4096,
    seed: int = 0,
) -> PreTrainedModel:
    """Train a byte-level BPE tokenizer on ``texts``, draw a float32 Qwen2 model and save both in ``output``.

    Args:
        texts: what the tokenizer learns from; the model itself learns nothing.
        output: folder for ``AutoModelForCausalLM.from_pretrained`` and ``AutoTokenizer.from_pretrained``.
        vocab_size: most tokens the tokenizer may have, special ones included; little text gives fewer. The model's
            vocabulary is the tokenizer's length rounded up to a multiple of 64.
        hidden_size: width of the model; the inner layers of its MLPs are four times as wide.
        layers: transformer layers.
        heads: attention heads; must divide ``hidden_size`` into even parts. vLLM takes those of 32 entries or more.
        kv_heads: key-value heads; must divide ``heads``.
        max_position_embeddings: longest sequence, in tokens.
        seed: of the weights; the same arguments give the same files. The global random state is left as it was.

    Returns:
        The saved model.

    Raises:
        ValueError: no text, or sizes that do not fit together.
    """
    if heads < 1 or kv_heads < 1 or hidden_size % (2 * heads) or heads % kv_heads:
        raise ValueError(
            f"hidden_size ({hidden_size}) must be a multiple of 2 x heads ({heads}), heads of kv_heads ({kv_heads})"
        )
    tokenizer = train_tokenizer(texts, vocab_size, max_position_embeddings)
    tokenizer.chat_template = CHAT_TEMPLATE

    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=max_position_embeddings,
        tie_word_embeddings=False,
        **ids,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return model


def read_texts(path: str | Path, fields: list[str]) -> Iterator[str]:
    """Yield the lines of a text file, or the named fields of each row of a JSON Lines file; either may be gzipped.

    Raises FileNotFoundError, and ValueError for a line that is not a JSON object or a field that is text in no row.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give --text a .txt, .jsonl or .jsonl.gz file, or leave it out"
        )
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        if ".jsonl" not in path.suffixes:
            yield from lines
            return
        missing = set(fields)
        keys: set[str] = set()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: this is no JSON ({error}); mend or delete it") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: expected a JSON object")
            keys |= row.keys()
            texts = {name: row[name] for name in fields if isinstance(row.get(name), str)}
            missing -= texts.keys()
            yield from texts.values()
    if missing:
        raise ValueError(
            f"{path} has no text in {', '.join(sorted(missing))}; set --text_field from {', '.join(sorted(keys))}"
        )


def project_texts() -> Iterator[str]:
    """Yield the project's own README, settings and source, which are there on any machine."""
    files = [ROOT / "README.md", ROOT / "pyproject.toml"]
    for folder in ("train", "rewards", "scripts"):
        files += sorted((ROOT / folder).rglob("*.py"))
    for file in files:
        if file.is_file():
            yield file.read_text(encoding="utf-8")


def rehearsal_models(folder: Path) -> tuple[str, str]:
    """Two models of one tokenizer, made of the project's own texts, the second for a frozen base that is another."""
    texts = list(project_texts())
    for seed in (0, 1):
        make_rehearsal_model(texts, folder / str(seed), vocab_size=512, hidden_size=32, seed=seed)
    return str(folder / "0"), str(folder / "1")


def example_problems(path: Path) -> str:
    """The name of a file of 64 sums, which is written."""
    rows = ({"problem": f"What is {a} + {2 * a}?", "solution": f"\\boxed{{{3 * a}}}"} for a in range(64))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
