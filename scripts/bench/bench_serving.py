"""The served reward under load: whether every client gets the score of a call, and what serving costs.

    python scripts/bench/bench_serving.py --model outputs/SmolLM2-135M-Instruct --requests 10000 --clients 64 \
      --output scripts/bench/results/serving_cpu.json

`scripts/serve_reward.py` runs as a process of its own. Clients ask for one response a request, some hang up before
their answer and ask anew, some send what is no request. The answers are compared with `EndoRM.score` in this process,
which also tells how long the same rows take without a server, in batches of as many rows as there are clients.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import httpx
import torch
from transformers import AutoTokenizer

from rewards import EndoRM, FrozenBase
from rewards.frozen.loading import load_causal_lm
from rewards.reporting.record import record

WORDS = ["the", "a", "river", "seven", "of", "and", "was", "blue", "old", "stone", "morning", "answer", "paper"]
BAD = [b"", b"{", b"[]", b"{}", b'{"prompts": ["a"]}', b'{"prompts": ["a"], "responses": []}', b"\xff\xfe", b"null"]
HANGS_UP, SENDS_NONSENSE = 0.02, 0.02  # shares of the requests beside which a client does so


def rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Prompts and responses of a few words, all different."""
    rng = random.Random(seed)
    return [(f"{i} {' '.join(rng.choices(WORDS, k=6))}?", " ".join(rng.choices(WORDS, k=12))) for i in range(count)]


async def ask(url: str, data: list[tuple[str, str]], clients: int) -> tuple[list[float], dict[str, int]]:
    """The rewards that `clients` clients at once are given, and how often which trouble was made."""
    rng, waiting = random.Random(1), iter(enumerate(data))
    found: list[float] = [float("nan")] * len(data)
    counts = {"hung up": 0, "nonsense": 0, "nonsense with a status of 4xx": 0}

    async def work() -> None:
        async with httpx.AsyncClient(timeout=None) as client:
            for i, (prompt, response) in waiting:
                body = {"prompts": [prompt], "responses": [response]}
                if rng.random() < HANGS_UP:
                    counts["hung up"] += 1
                    task = asyncio.create_task(client.post(f"{url}/score", json=body))
                    await asyncio.sleep(rng.random() * 0.05)
                    task.cancel()
                if rng.random() < SENDS_NONSENSE:
                    counts["nonsense"] += 1
                    status = (await client.post(f"{url}/score", content=rng.choice(BAD))).status_code
                    counts["nonsense with a status of 4xx"] += 400 <= status < 500
                answer = await client.post(f"{url}/score", json=body)
                found[i] = answer.raise_for_status().json()["rewards"][0]

    await asyncio.gather(*(work() for _ in range(clients)))
    return found, counts


def wait_for(url: str, server: subprocess.Popen) -> None:
    """Return when the server answers."""
    while True:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=60)
            return
        except OSError:
            if server.poll() is not None:
                raise SystemExit("the server has ended: see what it says above") from None
            time.sleep(0.5)


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name or folder of the frozen base")
    parser.add_argument("--requests", type=int, default=10_000, help="of one response each")
    parser.add_argument("--clients", type=int, default=64, help="at once")
    parser.add_argument("--port", type=int, default=8100, help="of the server, on this machine")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)

    data = rows(args.requests)
    url = f"http://127.0.0.1:{args.port}"
    entry = json.dumps({"name": "endorm", "model": args.model})
    command = [sys.executable, "scripts/serve_reward.py", "--reward", entry, "--port", str(args.port)]
    server = subprocess.Popen([*command, "--max_rows", str(args.clients)], stdout=subprocess.DEVNULL)
    try:
        wait_for(url, server)
        start = time.perf_counter()
        found, counts = asyncio.run(ask(url, data, args.clients))
        served = time.perf_counter() - start
        health = json.load(urllib.request.urlopen(f"{url}/health", timeout=60))
    finally:
        server.terminate()
        server.wait()

    model, _ = load_causal_lm(args.model)
    reward = EndoRM(FrozenBase(model), AutoTokenizer.from_pretrained(args.model))
    expected: list[float] = []
    start = time.perf_counter()
    for i in range(0, len(data), args.clients):
        expected += reward.score(*zip(*data[i : i + args.clients]))
    alone = time.perf_counter() - start
    gap = float((torch.tensor(found).double() - torch.tensor(expected).double()).abs().max())
    result = {
        "requests": args.requests,
        "clients": args.clients,
        **counts,
        "largest difference to EndoRM.score, nats": gap,
        "calls of the reward": health["calls"],
        "seconds": round(served, 1),
        "seconds without a server": round(alone, 1),
        "requests a second": round(args.requests / served, 1),
        "share of the speed without a server": round(alone / served, 3),
    }
    print(json.dumps(result, indent=2))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps({**result, **record(argv=argv)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
