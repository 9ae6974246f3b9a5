"""A stand-in for vLLM: a transformers model in its place, which notes what it is sent. vLLM itself has an environment
of its own, and tests in tests/real_vllm.

As a script it puts itself where TRL looks for vLLM and then runs an entry script of this project:

    vllm_stand_in.py MODEL RECORD.json train/ppo_endorm.py --config ...
"""

import json
import runpy
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
from transformers import AutoModelForCausalLM
from trl.generation import vllm_generation

from train.generation import vllm_engine as ours


class Engine:
    """A model that takes weights by name and answers with token ids and log-probs, off by `gap` nats a token."""

    def __init__(self, folder, gap=0.0):
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.gap, self.syncs, self.requests, self.settings = gap, [], [], {}
        self.declared_eos = self.model.generation_config.eos_token_id

    def load(self, named_params):
        named = {name: p.detach().clone() for name, p in named_params}  # ZeRO-3 gathers one at a time
        missing = self.model.load_state_dict(named, strict=False)
        assert missing.unexpected_keys == []
        assert all(key == "lm_head.weight" for key in missing.missing_keys)  # tied
        self.syncs.append(named)

    @torch.no_grad()
    def answer(
        self, prompt, n, max_tokens, stop_token_ids, seed=None, logprobs=0, structured_outputs_regex=None, **how
    ):
        """`n` pairs of token ids and their log-probs, as vLLM's processed_logprobs: of the distribution that was
        sampled from, after temperature, top-k, top-p, min-p and repetition penalty."""
        declared = self.declared_eos if isinstance(self.declared_eos, list) else [self.declared_eos]
        ids = torch.tensor([prompt] * n)
        how |= {"do_sample": True, "max_new_tokens": max_tokens, "eos_token_id": sorted({*declared, *stop_token_ids})}
        how |= {"output_scores": True, "return_dict_in_generate": True}
        # of ZeRO-3's processes only the first speaks to a server
        out = self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), synced_gpus=False, **how)
        log_probs, stops = torch.stack(out.scores, dim=1).float().log_softmax(-1), how["eos_token_id"]
        answers = []
        for row, lp in zip(out.sequences[:, len(prompt) :].tolist(), log_probs):
            end = next((i + 1 for i, token in enumerate(row) if token in stops), len(row))
            answers.append((row[:end], [float(lp[i, t]) - self.gap for i, t in enumerate(row[:end])]))
        return answers


class Client:
    """TRL's VLLMClient: the server mode."""

    engine: Engine

    def __init__(self, base_url, group_port, connection_timeout):
        self.url = base_url

    def init_communicator(self, device):
        pass

    def get_server_info(self):
        dtype = str(self.engine.model.dtype)
        return {"model_config": {"logprobs_mode": "processed_logprobs", "dtype": dtype}}

    def update_named_params(self, metadata, named_params):
        self.engine.load(named_params)
        sent = self.engine.syncs[-1].items()
        assert [(n, str(p.dtype).removeprefix("torch."), list(p.shape)) for n, p in sent] == metadata

    def reset_prefix_cache(self):
        pass

    def generate(self, prompts, features, generation_kwargs, n, logprobs, **sampling):
        self.engine.requests.append(
            {"prompts": prompts, "n": n, "logprobs": logprobs, **sampling, **generation_kwargs}
        )
        answers = [a for p in prompts for a in self.engine.answer(p, n=n, **sampling, **generation_kwargs)]
        ids, log_probs = zip(*answers)
        return {
            "prompt_ids": prompts,
            "completion_ids": list(ids),
            "logprobs": [[[x] for x in row] for row in log_probs],
        }


class LLM:
    """vLLM's own class: the colocate mode."""

    engine: Engine

    def __init__(self, **settings):
        self.settings, self.asleep, self.open = settings, False, False
        self.engine.settings = settings
        model = SimpleNamespace(load_weights=self.take)
        runner = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=SimpleNamespace(model=model)))
        self.llm_engine = SimpleNamespace(model_executor=runner)
        self.named = {}

    def take(self, named):
        assert not self.asleep
        assert self.open, "as on a CPU, weights are packed but for a reload"
        self.named.update(named)

    def reset_prefix_cache(self):
        self.engine.load(self.named.items())

    def sleep(self, level):
        self.asleep = True

    def wake_up(self, tags):
        self.asleep = False

    def generate(self, prompts, sampling_params, use_tqdm):
        request = vars(sampling_params)
        self.engine.requests.append({"prompts": [p["prompt_token_ids"] for p in prompts], **request})
        outputs = []
        for prompt in prompts:
            ids, log_probs = self.engine.answer(prompt["prompt_token_ids"], **request)[0]
            table = [{t: SimpleNamespace(logprob=x, rank=1)} for t, x in zip(ids, log_probs)]
            answer = SimpleNamespace(token_ids=ids, logprobs=table)
            outputs.append(SimpleNamespace(prompt_token_ids=prompt["prompt_token_ids"], outputs=[answer]))
        return outputs


@contextmanager
def layerwise_reload(llm):
    llm.open = True
    yield
    llm.open = False


def put_in_place(engine, patch=setattr):
    """Let TRL find the stand-ins, all of them speaking to `engine`."""
    patch(ours, "Client", Client)
    patch(ours, "layerwise_reload", layerwise_reload)
    names = {"is_vllm_available": lambda *a, **k: True, "SamplingParams": SimpleNamespace}
    # What TRL writes there is for vLLM alone. The next trainer of this process would take itself for a launched one by
    # it, and open a port that another process may have.
    names |= {"os": SimpleNamespace(environ={}), "ensure_master_addr_port": lambda: None}
    for name, value in (names | {"VLLMClient": Client, "LLM": LLM}).items():
        patch(vllm_generation, name, value) if patch is setattr else patch(vllm_generation, name, value, raising=False)
    Client.engine = LLM.engine = engine


if __name__ == "__main__":
    folder, record, script, *rest = sys.argv[1:]
    put_in_place(engine := Engine(folder))
    sys.argv = [script, *rest]
    runpy.run_path(script, run_name="__main__")
    if engine.syncs:  # the main process
        shapes = [{name: list(p.shape) for name, p in sync.items()} for sync in engine.syncs]
        sums = [{name: float(p.double().sum()) for name, p in sync.items()} for sync in engine.syncs]
        Path(record).write_text(json.dumps({"requests": engine.requests, "shapes": shapes, "sums": sums}))
