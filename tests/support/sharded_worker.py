"""One of two CPU processes: scores rows with a sharded frozen base and writes how far they are from an unsharded one.

python -m torch.distributed.run --nproc_per_node 2 tests/support/sharded_worker.py fsdp2|zero3 MODEL_FOLDER OUTPUT
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM

from rewards import FrozenBase


def shard(kind: str, folder: str):
    if kind == "fsdp2":
        from torch.distributed.fsdp import fully_shard

        dist.init_process_group("gloo")
        model = AutoModelForCausalLM.from_pretrained(folder)
        for layer in model.model.layers:
            fully_shard(layer)
        return fully_shard(model)
    import deepspeed
    from transformers.integrations import HfDeepSpeedConfig

    deepspeed.init_distributed(dist_backend="gloo")
    # ZeRO-3 keeps what is small or soon used again; a tiny model is sharded only without these kindnesses
    kindness = ("param_persistence_threshold", "max_live_parameters", "max_reuse_distance", "prefetch_bucket_size")
    zero = {"stage": 3} | {f"stage3_{name}": 0 for name in kindness}
    config = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": zero}
    keep = HfDeepSpeedConfig(config)  # alive while the model loads, so that it loads sharded
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert keep.is_zero3()
    return deepspeed.initialize(model=model, config=config)[0]


def main(kind: str, folder: str, output: str) -> None:
    torch.set_num_threads(1)
    base = FrozenBase(shard(kind, folder), batch_tokens=12)
    rank = dist.get_rank()
    generator = torch.Generator().manual_seed(rank)
    # 3 rows on one process, 7 on the other, and so another number of batches
    rows = [torch.randint(3, 90, (5 + i,), generator=generator).tolist() for i in range(3 + 4 * rank)]
    prompts, responses = [r[:3] for r in rows], [r[3:] for r in rows]
    scores = base.score(prompts, responses, (1.0, 0.7), temperature=0.9, hidden=True)
    forwards = base.forwards
    answers = base.next_token_log_probs(prompts, [5, 9])
    local = (p.to_local() if hasattr(p, "to_local") else p for p in base._lm.parameters())
    own_parameters = sum(p.numel() for p in local)
    from transformers.integrations import deepspeed as integration

    integration.unset_hf_deepspeed_config()
    plain = AutoModelForCausalLM.from_pretrained(folder)
    worst = (answers - FrozenBase(plain).next_token_log_probs(prompts, [5, 9])).abs().max().item()
    for a, b in zip(scores, FrozenBase(plain).score(prompts, responses, (1.0, 0.7), temperature=0.9, hidden=True)):
        for x, y in ((a.q, b.q), (a.log_probs, b.log_probs), (a.v[1.0], b.v[1.0]), (a.v[0.7], b.v[0.7])):
            worst = max(worst, (x - y).abs().max().item())
        worst = max(worst, (a.hidden - b.hidden).abs().max().item())
    report = {
        "rows": len(scores),
        "worst": worst,
        "forwards": forwards,
        "sharded": base.sharded,
        "share": own_parameters / sum(p.numel() for p in plain.parameters()),
    }
    Path(output, f"{rank}.json").write_text(json.dumps(report))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
