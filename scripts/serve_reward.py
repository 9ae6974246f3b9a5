"""Serve a reward by HTTP, for trainers that are not this project's: OpenRLHF, verl, or any that can send JSON.

    pip install -e '.[serve]'
    python scripts/serve_reward.py --reward '{"name": "endorm", "model": "Qwen/Qwen2.5-0.5B-Instruct"}' --port 8100

`POST /score {"prompts": [...], "responses": [...]}` answers {"rewards": [...]} in nats or the reward's own unit;
`columns` may hold columns of the data. OpenRLHF takes http://HOST:8100/openrlhf as its remote reward, verl the file
scripts/verl_reward.py. Requests that come at once are scored together. Anybody who reaches the port can use it: keep
it inside the cluster.
"""

import argparse
import json

import uvicorn

from rewards.serving.app import make_app
from train.recipe_rewards import make_reward

OF_GROUPS = ("majority_vote", "cluster_share", "pairwise_judge")  # need all responses to a prompt at once


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--reward", required=True, help="an entry of `rewards` in a recipe, as JSON: name and settings"
    )
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for other machines")
    parser.add_argument("--port", type=int, default=8100)
    parser.add_argument("--max_rows", type=int, default=64, help="responses of one call of the reward")
    args = parser.parse_args(argv)
    uvicorn.run(make_app(*read_reward(args.reward), most_rows=args.max_rows), host=args.host, port=args.port)


def read_reward(text: str) -> tuple:
    """The reward function of an entry, and its name.

    Raises:
        SystemExit: no JSON with a name, or a reward that cannot be served.
    """
    try:
        entry = json.loads(text)
        name = entry.pop("name")
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise SystemExit(
            f'--reward needs JSON with a name, e.g. \'{{"name": "endorm", "model": M}}\': {error}'
        ) from error
    if name in OF_GROUPS:
        raise SystemExit(f"{name} compares the responses to one prompt, and requests bring them one by one.")
    if entry.get("online"):
        raise SystemExit(
            f"{name} with online is a reward by the policy that is trained, and here is none: name a model."
        )
    try:
        return make_reward(name, entry), name
    except ValueError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
