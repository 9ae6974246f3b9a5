"""Chat templates of six families with a small tokenizer for each, whose special tokens and BOS are the family's."""

from dataclasses import dataclass, field
from pathlib import Path

import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BUNDLED = Path(trl.__file__).parent / "chat_templates"
# what the two that TRL does not bring along write, in small
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are small.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def bundled(name: str) -> str:
    """A chat template that TRL brings along."""
    return (BUNDLED / f"{name}.jinja").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Family:
    """How a family of models writes chats.

    Attributes:
        template: the chat template.
        special: the special tokens, the padding first.
        bos, eos: two of them; a tokenizer with a BOS puts it before every text.
        end: the one that ends an answer.
        system: whether the template takes a system message.
        variables: `chat_template_kwargs` of the run.
    """

    template: str
    special: tuple[str, ...]
    eos: str
    end: str
    bos: str | None = None
    system: bool = True
    variables: dict = field(default_factory=dict)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Byte-level BPE with one token each for Yes, No, A and B, after a space or not."""
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=list(self.special),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        core.train_from_iterator(["Yes Yes No No A B it It"] * 3, trainer)
        if self.bos:
            core.post_processor = processors.TemplateProcessing(
                single=f"{self.bos} $A", special_tokens=[(self.bos, core.token_to_id(self.bos))]
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            pad_token=self.special[0],
            bos_token=self.bos,
            eos_token=self.eos,
            chat_template=self.template,
            padding_side="left",
        )


QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA = ("<|pad|>", "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
GEMMA = ("<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
FAMILIES = {
    "qwen2.5": Family(bundled("qwen2_5"), QWEN, "<|endoftext|>", "<|im_end|>"),
    "qwen3": Family(bundled("qwen3"), QWEN, "<|im_end|>", "<|im_end|>"),
    "qwen3 without thinking": Family(
        bundled("qwen3"), QWEN, "<|im_end|>", "<|im_end|>", variables={"enable_thinking": False}
    ),
    "llama-3": Family(bundled("llama3"), LLAMA, "<|end_of_text|>", "<|eot_id|>", bos="<|begin_of_text|>"),
    "gemma-2": Family(bundled("gemma"), GEMMA, "<eos>", "<end_of_turn>", bos="<bos>", system=False),
    "mistral": Family(MISTRAL, ("<unk>", "<s>", "</s>"), "</s>", "</s>", bos="<s>", system=False),
    "smollm2": Family(SMOLLM2, QWEN, "<|im_end|>", "<|im_end|>"),
}
TURNS = [
    {"role": "user", "content": "What is 2 + 2? "},
    {"role": "assistant", "content": "It is 4."},
    {"role": "user", "content": "\n And 3 + 3?"},
]


def chat(family: Family) -> list[dict]:
    """A prompt of several turns that the family can write."""
    return [*([{"role": "system", "content": "Be brief."}] if family.system else []), *TURNS]


def as_trl_applies_it(tokenizer, prompt: list[dict], **settings) -> list[int]:
    """`apply_chat_template` called as `trl.GRPOTrainer` calls it."""
    how = {"tools": None, "chat_template": None, "add_generation_prompt": True, "tokenize": True, "return_dict": True}
    return tokenizer.apply_chat_template(conversation=[prompt], **(how | settings))["input_ids"][0]
