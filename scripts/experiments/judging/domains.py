"""Four synthetic domains: one question, answered in four styles that share every word and differ in how often.

A question names a subject, a verb, an object and a time. An answer makes a claim of the first three, joins it to a
reason, and fills the slots of `STYLE` with words. In each slot a domain takes one of its own two words with
probability 1/2, of its kin's (academy and business, literature and entertainment) with 1/4 and of each other domain's
with 1/8, and it has its own odds of putting the claim first. So every answer is possible in every domain. Nothing that
decides an answer's length depends on the domain. Nothing is downloaded.
"""

import math
import random
from collections.abc import Sequence
from itertools import permutations, product

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from rewards.frozen.encoding import encode_prompt, encode_response
from train.tasks.arithmetic_model import imitate

DOMAINS = ("academy", "business", "literature", "entertainment")
SYSTEM_LINES = {
    "academy": "answer like a scholar .",
    "business": "answer like a manager .",
    "literature": "answer like a novelist .",
    "entertainment": "answer like a showman .",
}
CLAIM_FIRST = {"academy": 0.8, "business": 0.6, "literature": 0.4, "entertainment": 0.2}
STYLE = {  # two words of each domain, in the order of DOMAINS
    "opener": "notably presumably effectively currently quietly once honestly totally",
    "manner": "partly significantly quickly cheaply gently sadly wildly loudly",
    "link": "since hence given as for while cause so",
    "adjective": "empirical structural strategic annual silver silent amazing crazy",
    "noun": "evidence theory market budget memory moonlight party show",
    "effect": "implies indicates drives funds remembers mourns rocks loves",
    "closer": "overall therefore today soon alas still wow folks",
}
NOUNS = "river city harbour school forest museum bridge garden bakery railway island factory theatre road"
VERBS = "shape need change feed hold divide follow serve"
TIMES = "spring summer autumn winter peacetime wartime"
PAD_TOKEN, EOS_TOKEN = "<pad>", "<eos>"

_SLOTS = {slot: words.split() for slot, words in STYLE.items()}
_OWNER = {word: i // 2 for words in _SLOTS.values() for i, word in enumerate(words)}
# Probability of a word in each domain; own ^ other is 0 for a domain itself, 1 for its kin, 2 or 3 for the others.
_SHARE = {word: [(4, 2, 1, 1)[owner ^ d] / 16 for d in range(4)] for word, owner in _OWNER.items()}


def split_questions(n_heldout: int, seed: int) -> tuple[list[str], list[str]]:
    """All questions in random order, cut into train and ``n_heldout`` held-out ones; fixed by the seed.

    Raises ``ValueError`` if no train question would be left.
    """
    parts = product(permutations(NOUNS.split(), 2), VERBS.split(), TIMES.split())
    questions = [f"why does the {s} {v} the {o} in {t} ?" for (s, o), v, t in parts]
    if not 0 < n_heldout < len(questions):
        raise ValueError(f"n_heldout must lie in 1 .. {len(questions) - 1}, got {n_heldout}.")
    random.Random(f"questions {seed}").shuffle(questions)
    return questions[n_heldout:], questions[:n_heldout]


def answer(question: str, domain: str, rng: random.Random) -> str:
    """One answer to ``question`` in the style of ``domain``, 13 to 16 words."""
    number = DOMAINS.index(domain)

    def style(slot: str) -> str:
        return rng.choices(_SLOTS[slot], [_SHARE[word][number] for word in _SLOTS[slot]])[0]

    _, _, _, subject, verb, _, thing, *_ = question.split()
    manner = [style("manner")] if rng.random() < 0.5 else []
    adjectives = [style("adjective") for _ in range(rng.randrange(3))]
    claim = ["the", subject, "does", *manner, verb, "the", thing]
    reason = ["the", *adjectives, style("noun"), style("effect"), "it"]
    first, second = (claim, reason) if rng.random() < CLAIM_FIRST[domain] else (reason, claim)
    return " ".join([style("opener"), *first, style("link"), *second, style("closer")])


def style_log_prob(response: str, domain: str) -> float:
    """log-probability in nats that `answer` writes ``response`` in ``domain``, up to a term equal in all domains: what
    a judge would know that had learned the generator exactly."""
    number, words = DOMAINS.index(domain), response.split()
    claim_first = words[2] in NOUNS.split()
    order = CLAIM_FIRST[domain] if claim_first else 1 - CLAIM_FIRST[domain]
    return math.log(order) + sum(math.log(_SHARE[w][number]) for w in words if w in _SHARE)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, split at white space, no special tokens added; an unknown word is an error."""
    lines = [PAD_TOKEN, EOS_TOKEN, *SYSTEM_LINES.values(), "why does the in it ?", NOUNS, VERBS, TIMES]
    words = dict.fromkeys(" ".join([*lines, *STYLE.values()]).split())
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token=PAD_TOKEN, eos_token=EOS_TOKEN)


def imitate_domains(
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[str],
    *,
    seed: int = 0,
    steps: int = 300,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    unsteered: float = 0.2,
    hidden: int = 64,
    layers: int = 2,
) -> Qwen2ForCausalLM:
    """A model trained on ``steps`` batches of answers to random ``questions`` in random domains, each after its
    domain's system line, or with probability ``unsteered`` after none; cross entropy over the answer and end token."""
    rng = random.Random(f"train {seed}")

    def example() -> tuple[Tensor, Tensor]:
        domain, question = rng.choice(DOMAINS), rng.choice(questions)
        line = None if rng.random() < unsteered else SYSTEM_LINES[domain]
        prompt = encode_prompt(tokenizer, question, line)
        response = encode_response(tokenizer, answer(question, domain, rng), append_eos=True)
        return torch.tensor(prompt + response), torch.tensor([-100] * len(prompt) + response)

    def next_batch() -> tuple[Tensor, Tensor]:
        tokens, labels = zip(*(example() for _ in range(batch_size)), strict=True)
        return pad_sequence(tokens, True), pad_sequence(labels, True, padding_value=-100)

    return imitate(
        tokenizer,
        next_batch,
        seed=seed,
        steps=steps,
        learning_rate=learning_rate,
        hidden=hidden,
        layers=layers,
        description="four domains",
    )
