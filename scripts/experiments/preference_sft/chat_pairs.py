"""Right and wrong answers to word problems, and the training of a chat model's top layers on them.

Two answers to a problem are read in one row, the prompt once: an answer's tokens see the prompt and their own answer,
at the positions that they would have alone. What the frozen lower layers say of a row is computed once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, PreTrainedModel

from rewards.frozen.encoding import encode_prompt, encode_response
from train.tasks.word_problems import NAMES, solve, split_stories

PROMPT, CHOSEN, REJECTED, PADDING = range(4)  # what a token of a row belongs to
POOL = 16  # batches whose rows are sorted by length together


def number_pairs(operation: str) -> list[tuple[int, int]]:
    """Pairs of numbers for a story; those of `train.tasks.word_problems` are too few for thousands of problems."""
    if operation == "+":
        pairs = [(a, b) for a in range(2, 41) for b in range(2, 41)]
    elif operation == "-":
        pairs = [(a, b) for a in range(5, 61) for b in range(2, a - 1)]
    else:
        pairs = [(a, b) for a in range(2, 17) for b in range(2, 17)]
        pairs = [(a * b, b) for a, b in pairs] if operation == "/" else pairs
    return [pair for pair in pairs if solve(operation, *pair) not in pair]


def wrong_number(operation: str, a: int, b: int, rng: np.random.Generator) -> int:
    """A wrong result: every other time that of another operation, else one that is 1 to 9 off; never below 1."""
    right = solve(operation, a, b)
    confused = [n for n in (abs(solve(other, a, b)) for other in "+-*") if n not in (0, right)]
    missed = [n for n in range(right - 9, right + 10) if n > 0 and n != right]
    return int(rng.choice(confused if confused and rng.random() < 0.5 else missed))


def draw_pairs(n_train: int, n_heldout: int, seed: int, operations: str = "+-*/") -> tuple[list[dict], list[dict]]:
    """Rows ``{"prompt": chat, "chosen": right answer, "rejected": wrong one}`` for training and evaluation, in random
    order: all problems distinct, no story and no two numbers (in either order, for any operation) on both sides."""
    rng, stories = np.random.default_rng([seed, 4]), split_stories(seed)
    numbers = sorted({tuple(sorted(pair)) for operation in operations for pair in number_pairs(operation)})
    heldout = {numbers[i] for i in rng.permutation(len(numbers))[: round(0.3 * len(numbers))]}
    sides: tuple[list[dict], list[dict]] = ([], [])
    for side, n in enumerate((n_train, n_heldout)):
        for place, operation in enumerate(operations):
            told = stories[operation][side]
            own = [pair for pair in number_pairs(operation) if (tuple(sorted(pair)) in heldout) == bool(side)]
            wanted = n // len(operations) + (place < n % len(operations))
            for k in rng.choice(len(told) * len(own), size=wanted, replace=False):
                a, b = own[k // len(told)]
                question = told[k % len(told)].format(a=a, b=b, name=rng.choice(NAMES))
                answers = (solve(operation, a, b), wrong_number(operation, a, b, rng))
                chosen, rejected = (f"The answer is {number}." for number in answers)
                # Empty, or the template would put a system message of its own into each row.
                prompt = [{"role": "system", "content": ""}, {"role": "user", "content": question}]
                sides[side].append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
        sides[side][:] = [sides[side][i] for i in rng.permutation(n)]
    return sides


@dataclass
class Row:
    """Token ids ``(T,)`` of a prompt and answers, what each token belongs to ``(T,)``, and its state ``(T, H)`` below
    the trained layers."""

    ids: Tensor
    kinds: Tensor
    states: Tensor | None = None

    def with_answer(self, kind: int) -> "Row":
        """The row without its other answer."""
        kept = (self.kinds == PROMPT) | (self.kinds == kind)
        return Row(self.ids[kept], self.kinds[kept], None if self.states is None else self.states[kept])


def encode(pair: dict, tokenizer) -> Row:
    """A pair as a row of prompt, chosen and rejected answer, each answer with its end token."""
    prompt = pair["prompt"]
    parts = [encode_prompt(tokenizer, prompt)]
    parts += [encode_response(tokenizer, pair[side], True, prompt) for side in ("chosen", "rejected")]
    kinds = [kind for kind, part in enumerate(parts) for _ in part]
    return Row(torch.tensor([token for part in parts for token in part]), torch.tensor(kinds))


def collate(rows: Sequence[Row]) -> tuple[dict, Tensor, Tensor]:
    """Inputs of a model, ids ``(n, T)`` and kinds ``(n, T)`` of rows, padded on the right."""
    ids = pad_sequence([row.ids for row in rows], True)
    kinds = pad_sequence([row.kinds for row in rows], True, padding_value=PADDING)
    seen = (kinds[:, None, :] == PROMPT) | (kinds[:, None, :] == kinds[:, :, None])
    places = torch.arange(kinds.shape[1])
    seen &= places[None, :] <= places[:, None]
    inputs = {
        "attention_mask": torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None],
        "position_ids": places - (kinds == REJECTED) * (kinds == CHOSEN).sum(1, keepdim=True),
        "use_cache": False,
    }
    if rows[0].states is None:
        return inputs | {"input_ids": ids}, ids, kinds
    return inputs | {"inputs_embeds": pad_sequence([row.states for row in rows], True)}, ids, kinds


def layers_of(lm: PreTrainedModel, first: int, last: int) -> PreTrainedModel:
    """A causal LM of the layers ``first`` to ``last - 1`` of a Llama ``lm``, whose modules it shares: what trains it
    trains ``lm``. Its final norm is ``lm``'s if it has the last layer, else none."""
    whole = lm.config.num_hidden_layers
    config = type(lm.config).from_dict(lm.config.to_dict() | {"num_hidden_layers": last - first})
    with torch.device("meta"):
        part = AutoModelForCausalLM.from_config(config)
    part.model.embed_tokens, part.lm_head = lm.model.embed_tokens, lm.lm_head
    part.model.layers, part.model.rotary_emb = lm.model.layers[first:last], lm.model.rotary_emb
    part.model.norm = lm.model.norm if last == whole else nn.Identity()
    return part.eval()


def autocast() -> torch.autocast:
    """Products in bf16, of weights in fp32."""
    return torch.autocast("cpu", torch.bfloat16)


@torch.no_grad()
def read_lower_layers(lm: PreTrainedModel, trained: int, rows: Sequence[Row]) -> None:
    """Write into each row its states below the top ``trained`` layers of ``lm``."""
    lower = layers_of(lm, 0, lm.config.num_hidden_layers - trained)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    for start in tqdm(range(0, len(rows), 32), desc="lower layers", unit="batch", mininterval=1.0):
        batch = [rows[i] for i in order[start : start + 32]]
        with autocast():
            states = lower.model(**collate(batch)[0]).last_hidden_state
        for row, state in zip(batch, states, strict=True):
            row.states = state[: len(row.ids)].float().clone()


def batches(rows: Sequence[Row], size: int, rng: np.random.Generator) -> Iterator[list[Row]]:
    """Batches without end, all rows in a new order each epoch; rows of similar length stand together."""
    while True:
        order, epoch = rng.permutation(len(rows)), []
        for pool in np.split(order, range(POOL * size, len(rows), POOL * size)):
            pool = pool[np.argsort([len(rows[i].ids) for i in pool], kind="stable")]
            epoch += np.split(pool, range(size, len(pool), size))
        yield from ([rows[i] for i in epoch[k]] for k in rng.permutation(len(epoch)))


def answer_loss(lm: PreTrainedModel, inputs: dict, labels: Tensor) -> Tensor:
    """Mean cross entropy of the tokens ``labels (n, T)`` that are not -100, each predicted from the token before it.
    Only these go through the head, which in a small model costs as much as many layers."""
    states, kept = lm.base_model(**inputs).last_hidden_state[:, :-1], labels[:, 1:] != -100
    return cross_entropy(lm.get_output_embeddings()(states[kept]).float(), labels[:, 1:][kept])


def imitation_loss(lm: PreTrainedModel, rows: Sequence[Row]) -> Tensor:
    """`answer_loss` of rows that have one answer each."""
    inputs, ids, kinds = collate(rows)
    with autocast():
        return answer_loss(lm, inputs, ids.where((kinds == CHOSEN) | (kinds == REJECTED), -100))


def pair_rewards(model: PreTrainedModel, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Rewards ``(n,)`` that a sequence classifier gives to the chosen and to the rejected answers, read at their end
    tokens."""
    inputs, _, kinds = collate(rows)
    places = torch.arange(kinds.shape[1])
    with autocast():
        states = model.base_model(**inputs).last_hidden_state
        ends = [((kinds == kind) * places).argmax(1) for kind in (CHOSEN, REJECTED)]
        chosen, rejected = (model.score(states[torch.arange(len(rows)), end])[:, 0].float() for end in ends)
    return chosen, rejected
