"""Show what a model thinks of every token of a response: one HTML page, to be opened in any browser, offline.

    python scripts/lens.py --model Qwen/Qwen2.5-0.5B-Instruct --chat --prompt "What is 2+2?" \\
        --response "It is 4." --compare "It is 5." --output lens.html

Colour shows log-probabilities, by which a wrong word stands out; every token's reward Q - V is among its numbers.
Prompt and responses are texts, or @FILE for the UTF-8 text of a file as it stands.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rewards import EndoRM
from rewards.endorm import FORMS, TERMINALS
from rewards.frozen.encoding import END_TOKENS, warn_of_split
from rewards.lens import COLORS, LensResponse, lens_page, token_texts

SETTINGS = ("alpha", "discount", "floor", "form", "terminal", "system_prompt", "chat_template_kwargs", "end_token")


def text_or_file(argument: str) -> str:
    """The text of an argument, read from a file where it is @FILE.

    Raises:
        argparse.ArgumentTypeError: no text, no such file, or text that is not UTF-8.
    """
    data = os.fsencode(argument)  # the bytes that were typed
    if argument.startswith("@"):
        path = Path(argument[1:])
        if not path.is_file():
            raise argparse.ArgumentTypeError(
                f"no file {str(path)!r}: check the path; a text that itself begins with @ must be given in a file"
            )
        data = path.read_bytes()
    if not data:
        raise argparse.ArgumentTypeError("the text is empty: give at least one character")
    try:
        return data.decode("utf-8")  # without translating line breaks
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(f"the text is not UTF-8 ({error}): convert it, e.g. with iconv") from error


def explain(
    rm: EndoRM, prompt: str | list[dict], responses: Sequence[str], settings: dict, color: str = "log_prob"
) -> str:
    """The page for responses to one prompt, from one frozen forward, with `settings` at the top, coloured by `color`.

    Raises:
        ValueError: a response longer than the model's positions; else as `EndoRM.score`.
    """
    warn_of_split(rm.tokenizer, [prompt] * len(responses), responses)
    prompt_ids = rm.prompt_ids(prompt)
    response_ids = [rm.response_ids(text, prompt) for text in responses]
    longest, positions = max(map(len, response_ids)), rm.base.max_positions
    if positions and len(prompt_ids) + longest > positions:
        raise ValueError(
            f"prompt and response have {len(prompt_ids)} + {longest} tokens, the model has {positions} positions: "
            "shorten --prompt or the longer response, or choose a --model with more"
        )
    scores = rm.base.score([prompt_ids] * len(response_ids), response_ids, (rm.alpha,))
    lenses = [LensResponse.from_scores(rm, ids, s) for ids, s in zip(response_ids, scores)]
    return lens_page("".join(token_texts(rm.tokenizer, prompt_ids)), lenses, settings, color)


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="hub name or folder of a causal LM (safetensors)")
    parser.add_argument("--prompt", type=text_or_file, required=True, help="text or @FILE")
    parser.add_argument("--response", type=text_or_file, required=True, help="text or @FILE")
    parser.add_argument("--compare", type=text_or_file, help="a second response, shown beside the first")
    parser.add_argument("--output", type=Path, default=Path("lens.html"), help="page to write (default %(default)s)")
    colors = "what colour shows: log-probabilities, rewards, or log-probabilities less those of --compare"
    parser.add_argument("--color", choices=COLORS, default="log_prob", help=f"{colors} (default %(default)s)")
    parser.add_argument("--alpha", type=float, default=1.0, help="temperature of the soft value")
    parser.add_argument("--discount", type=float, default=1.0, help="token h weighs max(discount^h, floor)")
    parser.add_argument("--floor", type=float, default=0.0, help="least weight of a token")
    parser.add_argument("--form", choices=FORMS, default="reward", help="Q - V, or alpha * log-prob")
    parser.add_argument("--terminal", choices=TERMINALS, default="uniform", help="V after the end token")
    parser.add_argument("--system_prompt", type=text_or_file, help="criterion by which to judge, text or @FILE")
    parser.add_argument("--chat", action="store_true", help="put the prompt through the model's chat template")
    parser.add_argument("--chat_template_kwargs", help="its variables as JSON: '{\"enable_thinking\": false}'")
    parser.add_argument("--end_token", choices=END_TOKENS, default="template", help="of a chat; see rewards/README.md")
    args = parser.parse_args(argv)
    if args.color == "difference" and args.compare is None:
        parser.error("--color difference compares two responses: give the other one with --compare")
    settings = {name: getattr(args, name) for name in SETTINGS}
    prompt = [{"role": "user", "content": args.prompt}] if args.chat else args.prompt
    responses = [args.response] if args.compare is None else [args.response, args.compare]
    shown = {"model": args.model, "prompt": "chat template" if args.chat else "as it stands", **settings}
    shown = {name: value for name, value in shown.items() if value is not None}
    try:
        EndoRM(**settings)  # settings that make no sense are refused before any weights are loaded
        page = explain(EndoRM.from_pretrained(args.model, **settings), prompt, responses, shown, args.color)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(page, encoding="utf-8")
    except (OSError, ValueError) as error:  # a model that is not there, an input that cannot be scored, a full disk
        parser.error(str(error))
    print(f"{args.output}: {len(responses)} response(s), {len(page.encode()) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
