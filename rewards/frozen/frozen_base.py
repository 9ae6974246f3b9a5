"""The frozen base: one causal language model that is reward, KL reference and critic features at once.

One no-grad forward over a rollout gives, for every response token h of every response,

    log_probs[h] = log pi_T(a_h | s_h)            the KL reference, at the sampling temperature T
    q[h]         = Q(s_h, a_h)                    the logit of the token that was taken
    v[alpha][h]  = alpha * logsumexp(Q(s_h, .)/alpha)   the soft value, also of the state after the last token
    hidden[h]    = last hidden state of s_h       the features of a critic, on request

in the notation of "Generalist Reward Models: Found Inside Large Language Models", arXiv 2506.23235, eq. 8-12.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from rewards.frozen.batching import FORWARD_TOKENS, plan_batches
from rewards.frozen.lm_head import HeadStatistics, LogitRule, head_logits, head_statistics, materialize
from rewards.frozen.prefix_tree import can_branch, prefix_tree, reads_trees
from rewards.frozen.shared_prompt import can_share, shared_prompt
from rewards.frozen.token_scores import TokenScores, split_statistics
from rewards.frozen.wrappers import unwrap, unwrap_parallel

PROBE = 16  # tokens of the texts on which a model is checked before it scores
# Padded tokens in one forward of a CPU at most while progress is shown: a few seconds of a small model's work.
CPU_PROGRESS_TOKENS = 1024
# Numbers in the states of one forward of a CPU at most, 910 tokens of a model of 135M: what lies between a layer's
# products then stays in caches, which spares an eighth of the time. So many tokens make the weights' reading worth it.
CPU_STATES, CPU_LEAST_TOKENS = 2**19, 256


class FrozenBase:
    """A causal LM that only scores. Its parameters are never changed here.

    Args:
        model: a causal LM of transformers: plain, or wrapped by DDP, DeepSpeed (ZeRO-3 included) or sharded by FSDP2.
            A PEFT model is the policy itself; it is then scored with its adapter switched off, or with a frozen one
            in its place, so no second copy of the weights exists.
        batch_tokens: padded tokens in one forward, on a CPU fewer for larger models (`CPU_STATES`). Longer sequences
            go first, so a budget too large fails at once.
        block: states and vocabulary entries whose fp32 logits exist at a time; default `lm_head.BLOCKS` of the device.
        autocast: called before each forward, returns a context manager (e.g. `accelerator.autocast`).
        online: score a policy as it stands while it is trained elsewhere, with its adapter on: nothing is frozen.
        adapter: of a PEFT model the frozen adapter to score with; None for the model with its adapter off.
    """

    def __init__(
        self,
        model: nn.Module,
        batch_tokens: int = 8192,
        block: tuple[int, int] | None = None,
        autocast=None,
        online: bool = False,
        adapter: str | None = None,
    ):
        if batch_tokens < 1 or (block and min(block) < 1):
            raise ValueError(f"batch_tokens and block must be at least 1, got {batch_tokens} and {block}.")
        # a compiled model would run its own code in place of the forward that is put in below
        self.model = getattr(model, "_orig_mod", model)
        self.batch_tokens = batch_tokens
        self.block = block
        self.forwards = 0  # backbone forwards so far: the cost of a reward is a number that can be checked
        self.tokens = 0  # that went through the backbone, padding left out
        self._autocast = autocast or contextlib.nullcontext
        self._lm = unwrap(self.model)
        config = self._lm.config.get_text_config()
        self.max_positions: int | None = getattr(config, "max_position_embeddings", None)
        self.logit_rule = LogitRule.from_config(config)
        self.adapter = adapter
        self.adapter_off = not online and hasattr(unwrap_parallel(self.model), "disable_adapter")
        self._head_checked = False  # at the first score: a policy is sharded only once training starts
        self.reads_trees = False  # whether rows can be read as a `PrefixTree`, known from that check on
        if not self.adapter_off and not online:
            self.model.requires_grad_(False)
            self.model.eval()

    @property
    def device(self) -> torch.device:
        return next(self._lm.parameters()).device

    @property
    def sharded(self) -> bool:
        """Whether ZeRO-3 or FSDP2 split the weights. They are gathered from every process, so that all processes must
        run the same number of forwards."""
        return any(hasattr(p, "ds_id") or hasattr(p, "full_tensor") for p in self._lm.parameters())

    @property
    def batch_budget(self) -> int:
        """Padded tokens in one forward: `batch_tokens`, on a CPU at most those whose states its caches hold."""
        if self.device.type != "cpu" or self.sharded:
            return self.batch_tokens
        size = cast(Tensor, self._lm.get_input_embeddings().weight).shape[1]
        return min(self.batch_tokens, max(CPU_LEAST_TOKENS, CPU_STATES // size))

    @property
    def generation_eos(self) -> int | list[int] | None:
        """End-token ids that the model's generation config declares."""
        return getattr(getattr(self._lm, "generation_config", None), "eos_token_id", None)

    @torch.no_grad()
    def score(
        self,
        prompt_ids: Sequence[Sequence[int]],
        response_ids: Sequence[Sequence[int]],
        alphas: Sequence[float] = (1.0,),
        temperature: float = 1.0,
        hidden: bool | torch.dtype = False,
        progress: bool | Callable[[int], object] = False,
        share_prompts: bool = False,
        distribution: bool = False,
    ) -> list[TokenScores]:
        """Score responses token by token, each sequence through the backbone exactly once.

        Args:
            prompt_ids: n unpadded lists of token ids, none empty (state s_1 needs at least one token).
            response_ids: n unpadded lists of token ids, none empty, end token included where there was one.
            alphas: the alphas at which soft values are wanted.
            temperature: the sampling temperature T of `log_probs`.
            hidden: also return the last hidden states, as they are or in a dtype.
            progress: show a progress bar, of responses; or a function that is called with how many each batch has
                scored. On a CPU batches are then smaller (`CPU_PROGRESS_TOKENS`), which changes scores by rounding.
            share_prompts: what rows begin with alike, a prompt or the beginning of a chat template, goes through the
                backbone once where that is faster: as a `PrefixTree`, or, if long, as one prompt whose keys and values
                its responses attend to. A model that remembers what it read in another way than by keys and values
                scores rows apart. Scores differ by rounding.
            distribution: also entropies and self-certainties; the head's product is then made twice.

        Returns:
            n `TokenScores`, in the order of the input, on the model's device.

        Raises:
            ValueError: for an empty prompt or response, a sequence beyond the model's positions, logits that are NaN
                or infinite (the message names the row and the fix), or a model whose logits are not what its head
                gives, so that rewards would be wrong.
        """
        self._check_input(prompt_ids, response_ids)
        self.check()
        found: dict[int, TokenScores] = {}  # by row, since batches come in an order of their own
        budget = self.batch_tokens
        if progress and self.device.type == "cpu" and not self.sharded:
            budget = min(budget, CPU_PROGRESS_TOKENS)
        # sharded weights need the same forwards on every process: no sharing there, and few, as each gathers them
        share_prompts = share_prompts and not self.sharded
        ways = ["tree"] * self.reads_trees + ["prompt"] * can_share(self._lm) if share_prompts else []
        forward_tokens = self.batch_tokens if self.sharded else FORWARD_TOKENS
        size, forward_budget = self._lm.config.get_text_config().hidden_size, min(budget, self.batch_budget)
        batches = plan_batches(prompt_ids, response_ids, ways, budget, forward_budget, size, forward_tokens)
        with tqdm(total=len(prompt_ids), desc="frozen base", unit="response", disable=progress is not True) as bar:
            done = progress if callable(progress) else bar.update
            for number in range(self._agree_on_rounds(len(batches))):
                # a process that has run out of work still takes part in the gathering of weights
                way, rows = batches[number] if number < len(batches) else ("apart", [])
                prompts, responses = [prompt_ids[i] for i in rows] or [[0]], [response_ids[i] for i in rows] or [[0]]
                states, statistics = self._forward(prompts, responses, (temperature, *alphas), way, distribution)
                if not rows:
                    continue
                lengths = [len(r) for r in responses]
                kept = states.to(hidden) if isinstance(hidden, torch.dtype) else states if hidden else None
                found |= zip(rows, split_statistics(statistics, lengths, alphas, temperature, kept, self))
                done(len(rows))
        if isinstance(self.model, FSDPModule):
            self.model.reshard()  # FSDP2 keeps the root's weights whole after a forward, waiting for a backward
        results = [found[i] for i in range(len(prompt_ids))]
        self._check_finite(results)
        return results

    @torch.no_grad()
    def next_token_log_probs(
        self,
        prompt_ids: Sequence[Sequence[int]],
        candidates: Sequence[int],
        progress: bool | Callable[[int], object] = False,
    ) -> Tensor:
        """Log-probabilities of a few tokens right after each prompt, each prompt through the backbone once.

        Args:
            prompt_ids: n unpadded lists of token ids, none empty.
            candidates: k token ids.
            progress: as `score`.

        Returns:
            (n, k) fp32, in nats, normalised over the whole vocabulary, on the model's device.

        Raises:
            ValueError: as `score`.
        """
        scores = self.score(prompt_ids, [[candidates[0]]] * len(prompt_ids), hidden=True, progress=progress)

        def logits():
            head = self._lm.get_output_embeddings()
            with materialize(head.weight, head.bias) as (weight, bias):
                states = torch.stack([cast(Tensor, s.hidden)[0] for s in scores]) if scores else weight[:0]
                rows = list(candidates)
                return self.logit_rule(head_logits(states, weight[rows], None if bias is None else bias[rows]))

        # inside a forward once more, since sharded weights are whole only there
        q = self._inside_forward(logits, torch.zeros(1, 1, dtype=torch.long, device=self.device), self._autocast)
        if isinstance(self.model, FSDPModule):
            self.model.reshard()
        return q - torch.stack([s.v[1.0][0] for s in scores])[:, None] if scores else q

    @contextlib.contextmanager
    def writing(self) -> Iterator[PreTrainedModel]:
        """The causal LM without its wrappers, to generate with: in evaluation mode, with its adapter as it scores.

        Raises:
            ValueError: its weights are sharded; to generate, each process would have to make as many forwards.
        """
        if self.sharded:
            raise ValueError(
                "A judge that writes needs whole weights, and ZeRO-3 or FSDP2 split them. Give the reward a model of "
                "its own (model, or endpoint), or train with DDP or ZeRO-2."
            )
        inner: Any = unwrap_parallel(self.model)
        with contextlib.ExitStack() as undo:
            if self.adapter_off:
                undo.enter_context(self._without_adapter(inner))
            undo.callback(inner.train, inner.training)
            inner.eval()
            undo.enter_context(self._autocast())
            yield self._lm

    def _without_adapter(self, inner) -> contextlib.AbstractContextManager:
        from trl.trainer.utils import use_adapter

        return use_adapter(inner, self.adapter)

    def score_padded(self, prompt_ids: Tensor, prompt_mask: Tensor, response_ids: Tensor, response_mask: Tensor, **kw):
        """`score` for padded tensors: prompts (B, P) padded on any side, responses (B, T) padded on the right, masks 1
        on real tokens. Padding is taken out before the forward, so it can change nothing."""
        prompts = [row[keep.bool()].tolist() for row, keep in zip(prompt_ids, prompt_mask)]
        responses = [row[keep.bool()].tolist() for row, keep in zip(response_ids, response_mask)]
        return self.score(prompts, responses, **kw)

    def _forward(
        self, prompts, responses, temperatures, way="apart", distribution=False
    ) -> tuple[Tensor, HeadStatistics]:
        """One forward of one batch. Returns all N = sum(T_i + 1) states (N, H), and the head's statistics of them.

        `way`: of `plan_batches`. With "prompt" what is padded and stacked below begins with the prompt's last token.
        """
        self.forwards += 1
        prefix = prompts[0][:-1] if way == "prompt" else []
        prompts = [p[len(prefix) :] for p in prompts]
        lengths = [len(p) + len(r) for p, r in zip(prompts, responses)]
        # Padding on the right of a causal model cannot be seen by the tokens before it: no mask, no position ids,
        # and so attention's fast causal path for every row.
        ids = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
        is_state = torch.zeros(ids.shape, dtype=torch.bool)
        for row, (prompt, response) in enumerate(zip(prompts, responses)):
            ids[row, : lengths[row]] = torch.tensor([*prompt, *response])
            is_state[row, len(prompt) - 1 : lengths[row]] = True
        actions = torch.cat([torch.tensor([*r, 0]) for r in responses])  # no token follows the last state
        embeddings = cast(Tensor, self._lm.get_input_embeddings().weight)
        known = getattr(embeddings, "ds_shape", embeddings.shape)[0]  # ZeRO-3 leaves an empty one
        seen = [*prefix, int(ids.min()), int(ids.max())]
        if min(seen) < 0 or max(seen) >= known:
            raise ValueError(
                f"Token id {max(seen)} is not among the frozen base's {known}: the ids come from another "
                "tokenizer. Choose a frozen base of the policy's model family."
            )
        ids, is_state, actions = (x.to(self.device) for x in (ids, is_state, actions))
        prefix = torch.tensor([prefix], dtype=torch.long, device=self.device)
        tree = None
        if way == "tree":
            real = torch.arange(ids.shape[1], device=self.device) < torch.tensor(lengths, device=self.device)[:, None]
            tree = prefix_tree(ids, real)
        self.tokens += prefix.shape[1] + (sum(lengths) if tree is None else len(tree.ids))

        def run():
            inputs = {"input_ids": ids} if tree is None else tree.inputs(self._lm)
            cache = shared_prompt(self._lm, prefix, len(ids)) if prefix.shape[1] else {}
            # held by no name, so that the states of prompts and padding are gone before the head's blocks come
            states = self._lm.base_model(**inputs, use_cache=bool(cache), **cache).last_hidden_state
            states = states[is_state] if tree is None else states[0, tree.place[is_state]]
            head = self._lm.get_output_embeddings()
            with materialize(head.weight, head.bias) as (weight, bias):
                return states, head_statistics(
                    states, weight, bias, actions, temperatures, self.logit_rule, self.block, distribution
                )

        return self._inside_forward(run, ids, self._autocast)

    def _inside_forward(self, function, ids: Tensor, autocast=contextlib.nullcontext):
        """Run `function` in place of the forward of the innermost wrapped module, through all of its wrappers.

        The hooks by which DeepSpeed and FSDP2 gather weights hang on the wrapped module's forward: work done outside
        of it would see empty shards. The result takes a side door, since those wrappers also cast what comes out.
        """
        inner: Any = unwrap_parallel(self.model)  # a PEFT model, if its adapter shall be off
        adapter = self._without_adapter(inner) if self.adapter_off else contextlib.nullcontext()
        was_training, patched = inner.training, inner.__dict__.get("forward")
        results = []

        def forward(ids):
            results.append(function())
            return ids

        inner.eval()  # no dropout, no gradient checkpointing
        inner.forward = forward
        try:
            with adapter, autocast():
                self.model(ids)
        finally:
            if patched is None:
                del inner.forward
            else:
                inner.forward = patched
            inner.train(was_training)
        return results[0]

    def check(self) -> None:
        """Try once, on short texts, whether the model is one that can be scored, and what it allows; `score` begins
        with it. All processes have to call it where weights are sharded.

        Raises:
            ValueError: its logits are not what its head gives, or tokens see those after them.
        """
        if not self._head_checked:
            self._check_head()
            self._head_checked = True

    @torch.no_grad()
    def _check_head(self) -> None:
        """The head's logits, as we compute them, must be the model's own: architectures differ in scaling, caps and
        biases, and one that we do not know of must be an error and not a wrong reward. Nor may a state see the token
        after it: an encoder's would."""
        width = min(PROBE, self.max_positions or PROBE)
        vocabulary = self._lm.config.get_text_config().vocab_size
        ids = torch.arange(2 * width, device=self.device).view(2, width) * 7919 % vocabulary
        begin = (width + 1) // 2
        ids[1, :begin] = ids[0, :begin]  # two texts that begin alike

        def both():
            states = self._lm.base_model(input_ids=ids, use_cache=False).last_hidden_state
            head = self._lm.get_output_embeddings()
            with materialize(head.weight, head.bias) as (weight, bias):
                ours = self.logit_rule(head_logits(states.flatten(0, 1), weight, bias)).view(*ids.shape, -1)
            self.reads_trees = can_branch(self._lm) and reads_trees(self._lm, ids, states)
            return ours, type(self._lm).forward(self._lm, input_ids=ids, use_cache=False).logits

        ours, theirs = self._inside_forward(both, ids)
        tolerance = 1e-3 if theirs.dtype == torch.float32 else 0.1
        theirs = theirs.float()
        if not torch.allclose(theirs[0, :begin], theirs[1, :begin], rtol=tolerance, atol=tolerance, equal_nan=True):
            raise ValueError(
                f"{type(self._lm).__name__} lets tokens see those after them, so its logits are no predictions, or "
                "depend on padding. Choose a decoder-only model."
            )
        if not torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise ValueError(
                f"{type(self._lm).__name__} computes its logits in a way that the frozen base does not know "
                f"(largest difference {(ours - theirs).abs().max():.3g}). Add its rule to LogitRule.from_config."
            )

    def _check_input(self, prompt_ids, response_ids) -> None:
        if len(prompt_ids) != len(response_ids):
            raise ValueError(f"{len(prompt_ids)} prompts but {len(response_ids)} responses: one response per prompt.")
        for i, (prompt, response) in enumerate(zip(prompt_ids, response_ids)):
            if len(prompt) == 0:
                raise ValueError(f"Prompt {i} has no tokens: begin it with a BOS token or any text.")
            if len(response) == 0:
                raise ValueError(
                    f"Response {i} is empty. Leave append_eos=True to score it as an end token alone, or drop it."
                )
            if self.max_positions and len(prompt) + len(response) > self.max_positions:
                raise ValueError(
                    f"Row {i} has {len(prompt)} + {len(response)} tokens (prompt + response), but the model has "
                    f"{self.max_positions} positions. Shorten max_prompt_length or max_completion_length, or drop it."
                )

    def _check_finite(self, scores: list[TokenScores]) -> None:
        parts = [x for s in scores for x in (s.q, s.log_probs, *s.v.values())]
        if not parts or bool(torch.isfinite(torch.cat(parts)).all()):  # one synchronisation a call
            return
        bad = [i for i, s in enumerate(scores) if not torch.cat([s.q, s.log_probs, *s.v.values()]).isfinite().all()]
        raise ValueError(
            f"The frozen base gave NaN or infinite logits for rows {bad[:8]}: check the checkpoint, or load it in "
            "bfloat16 or float32 instead of float16."
        )

    def _agree_on_rounds(self, rounds: int) -> int:
        if not (self.sharded and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return rounds
        most = torch.tensor(rounds, device=self.device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return int(most)
