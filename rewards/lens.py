"""The reward lens: one HTML page that shows what every token of a response earns.

Its colours show log-probabilities, not rewards: between two states V moves by tens of nats, so by Q - V a wrong word
may be pale among strongly coloured spaces, while by log-probability it is the outlier (rewards/README.md has figures).

The page is one string without script, link, font or image, under a Content-Security-Policy that would refuse them: it
works offline, and text from a model can run or fetch nothing in it. Numbers for a program are in `data-` attributes.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate

import numpy as np

from rewards.endorm import EndoRM, endogenous_rewards, position_weights
from rewards.frozen.token_scores import TokenScores

WIDTH, HEIGHT = 600, 150  # of a chart's plotting area, in SVG units
ONE_LINE = str.maketrans({" ": "␣", "\n": None, "\t": None})
PALE = 5.0  # nats: colour by log-probability saturates there at the earliest, so that likely text stays pale

COLORS = {  # what colour can show: its name in the legend, and the sentence that says it
    "log_prob": (
        "log-probability",
        "Colour shows the log-probability of each token: the stronger it is, the less the model expected that token "
        "there. Rewards and their sums are the numbers, not the colours.",
    ),
    "reward": (
        "token reward",
        "Colour shows the reward of each token, as the settings above have it. In Q − V it is mixed with how far V "
        "moves from one state to the next, so a strong colour need not mean an unexpected token.",
    ),
    "difference": (
        "difference of log-probabilities",
        "Colour shows the log-probability of each token less that of the token in its place in the other response; a "
        "token that has none there has no colour. Rewards and their sums are the numbers, not the colours.",
    ),
}

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1a1a1a, #ececec); --soft: light-dark(#5c5c5c, #a8a8a8);
  --line: light-dark(#d4d4d4, #444); --page: light-dark(#fff, #161616); --bar: light-dark(#f2f2f2, #262626);
  --low: light-dark(#f5a04e, #9c4f00); --middle: light-dark(#fff, #161616); --high: light-dark(#6cb0ee, #1d64a6); }
html { scroll-padding-bottom: 6rem; }
body { margin: 0 auto; padding: 1.5rem 1.5rem 6rem; max-width: 90rem; color: var(--ink); background: var(--page);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0; }
.settings, .totals, .note { color: var(--soft); margin: .3rem 0; } .settings b, .totals b { color: var(--ink); }
.settings span, .totals span { margin-right: 1.1em; display: inline-block; overflow-wrap: anywhere; }
.legend { margin: 1rem 0; max-width: 26rem; } .legend div { display: flex; justify-content: space-between; }
.scale { height: 1rem; border: 1px solid var(--line); print-color-adjust: exact;
  background: linear-gradient(to right, var(--low), var(--middle), var(--high)); }
[data-color=log_prob] .scale { background: linear-gradient(to right, var(--low), var(--middle)); }
.text { margin: .8rem 0; padding: .8rem; border: 1px solid var(--line); border-radius: 4px;
  white-space: pre-wrap; tab-size: 4; overflow-wrap: anywhere; font: 15px/1.9 ui-monospace, monospace; }
details .text { max-height: 20rem; overflow: auto; line-height: 1.5; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); column-gap: 2rem; }
article { display: grid; grid-row: span 4; grid-template-rows: subgrid; margin-bottom: 2rem; }
article > * { min-width: 0; } article .text { align-self: start; }
.below { --pole: var(--low); } .above { --pole: var(--high); }
.token { background: color-mix(in srgb, var(--pole) var(--share), var(--middle)); padding: .15em 0; border-radius: 2px;
  box-shadow: inset -1px 0 color-mix(in srgb, var(--ink) 30%, transparent); print-color-adjust: exact; }
.token:hover, .token:focus { outline: 2px solid var(--ink); }
.token:hover::after, .token:focus::after { content: attr(aria-label); position: fixed; inset: auto 0 0 0; z-index: 1;
  padding: .8rem 1.5rem; background: var(--bar); border-top: 2px solid var(--ink); pointer-events: none;
  white-space: normal; font: 15px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
.token:hover::after { z-index: 2; }
svg { width: 100%; height: auto; overflow: visible; font-size: 12px; fill: var(--soft); }
svg .axis { stroke: var(--line); } svg polyline { fill: none; stroke: var(--ink); stroke-width: 2; }
svg .other { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 4 3; }
"""


@dataclass
class LensResponse:
    """One response of T tokens as the page shows it: T entries in each list, everything but ids and texts in nats.

    Attributes:
        ids: token ids.
        texts: what each token adds to the text; see `token_texts`.
        rewards: the unweighted token rewards, as `EndoRM.token_rewards` gives them.
        weights: weight of each token in the response's sum.
        log_probs: log-probability of each token.
        q: Q(s_h, a_h).
        v: V(s_h).
        v_next: V(s_{h+1}), the last one by the boundary that the rewards were computed with.
    """

    ids: list[int]
    texts: list[str]
    rewards: list[float]
    weights: list[float]
    log_probs: list[float]
    q: list[float]
    v: list[float]
    v_next: list[float]

    @classmethod
    def from_scores(cls, rm: EndoRM, ids: list[int], scores: TokenScores) -> LensResponse:
        """A complete response of token ids `ids`, scored by `rm.base` at `rm.alpha`, under the settings of `rm`."""
        rewards = endogenous_rewards(scores, rm.alpha, rm.form, rm.terminal)
        weights = position_weights(len(ids), rm.discount, rm.floor)
        # the boundary has one home: V after the last token is what Q - V was computed with
        v_next = scores.q - endogenous_rewards(scores, rm.alpha, "reward", rm.terminal)
        columns = (rewards, weights, scores.log_probs, scores.q, scores.v[rm.alpha][:-1], v_next)
        return cls(ids, token_texts(rm.tokenizer, ids), *(x.tolist() for x in columns))

    @property
    def running_sum(self) -> list[float]:
        """Sum of weight x reward up to and with each token, (T,) nats."""
        return list(accumulate(w * r for w, r in zip(self.weights, self.rewards)))


def token_texts(tokenizer, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text; joined they are the decoded text.

    A character may be spelt by several tokens (bytes): the one that completes it has it, those before it have "".
    """
    texts, start, end, shown = [], 0, 0, ""
    for now in range(1, len(ids) + 1):
        # Decoded with the tokens before it: alone, some tokenizers would strip a leading space.
        text = tokenizer.decode(ids[start:now], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if text.endswith("\ufffd") and now < len(ids):  # what decoders give for an unfinished character
            texts.append("")
            continue
        texts.append(text[len(shown) :])
        start, end = end, now
        shown = tokenizer.decode(ids[start:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return texts


def visible(text: str) -> str:
    """`text` with everything unseen made visible: line breaks and tabs marked and kept, other control and format
    characters (also those that reorder text) and lone surrogates written as their code points."""

    def mark(character: str) -> str:
        if character in "\n\t":
            return {"\n": "⏎\n", "\t": "⇥\t"}[character]
        hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        return f"‹U+{ord(character):04X}›" if hidden else character

    return "".join(map(mark, text))


def differences(one: LensResponse, other: LensResponse) -> tuple[list[float], list[float]]:
    """Log-probability of each token less that of its counterpart in the other response, for both responses, in nats.

    Equal runs of tokens are each other's counterparts, and so are the tokens between two such runs, one by one; a
    token that is left over has none, and NaN.
    """
    found = [math.nan] * len(one.ids), [math.nan] * len(other.ids)
    for _, i, i_end, j, j_end in SequenceMatcher(None, one.ids, other.ids, autojunk=False).get_opcodes():
        for h, k in zip(range(i, i_end), range(j, j_end)):
            found[0][h] = one.log_probs[h] - other.log_probs[k]
            found[1][k] = other.log_probs[k] - one.log_probs[h]
    return found


def shown_values(responses: Sequence[LensResponse], color: str) -> list[list[float]]:
    """What the colour of each token shows, in nats; NaN where there is nothing.

    Raises:
        ValueError: no such colouring, or a difference of other than two responses.
    """
    if color not in COLORS:
        raise ValueError(f"color must be one of {tuple(COLORS)}, got {color!r}.")
    if color == "difference":
        if len(responses) != 2:
            raise ValueError("color 'difference' compares two responses: give a second one (--compare).")
        return list(differences(*responses))
    return [r.rewards if color == "reward" else r.log_probs for r in responses]


def colour_limit(values: Sequence[Sequence[float]], color: str) -> float:
    """The |value| in nats at which colour saturates. For rewards the 95th percentile over all tokens, so that one
    extreme token does not bleach the others; else the extreme, which is what one looks for, or `PALE`."""
    sizes = np.abs(np.concatenate(values))
    sizes = sizes[np.isfinite(sizes)]
    if color == "reward":
        return (float(np.quantile(sizes, 0.95)) if len(sizes) else 0.0) or 1.0
    return max(PALE, *sizes.tolist())


def lens_page(
    prompt: str, responses: Sequence[LensResponse], settings: Mapping[str, object], color: str = "log_prob"
) -> str:
    """The page: every token coloured on one scale, its numbers on hover and keyboard focus, the running weighted sum
    of the rewards below, the responses side by side.

    Args:
        prompt: the prompt as the base reads it.
        responses: one or more responses to it, none empty.
        settings: names and values to show at the top.
        color: what colour shows, one of `COLORS`.

    Raises:
        ValueError: no response, or one without tokens; else as `shown_values`.
    """
    if not responses or not all(r.ids for r in responses):
        raise ValueError("The page needs at least one response, each with at least one token.")
    values = shown_values(responses, color)
    limit, (name, sentence) = colour_limit(values, color), COLORS[color]
    shown = "".join(f"<span>{_text(k)} <b>{_text(v)}</b></span>" for k, v in settings.items())
    articles = "".join(_article(i, responses, values[i], limit) for i in range(len(responses)))
    highest = "" if color == "log_prob" else f"<span>≥ {limit:+.2f}</span>"  # no probability is above 1
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Reward lens</title><style>{STYLE}</style></head><body>
<h1>Reward lens</h1>
<p class="settings">{shown}</p>
<p id="shown">{sentence}</p>
<div class="legend" data-color="{color}" data-limit="{limit:.9g}"><div class="scale"></div>
<div><span>≤ {-limit:.2f}</span><span>{name} 0 nats</span>{highest}</div></div>
<p class="note">Point at a token, or reach it with the Tab key, for its numbers. ⋯ is a token that completes no
character by itself.</p>
<details open><summary>Prompt, as the base reads it</summary>
<div class="text" id="prompt">{_text(prompt)}</div></details>
{_verdict(responses)}<main>
{articles}</main></body></html>
"""


def _text(value: object) -> str:
    return html.escape(visible(str(value)))


def _name(index: int) -> str:
    return f"Response {chr(ord('A') + index)}"


def _verdict(responses: Sequence[LensResponse]) -> str:
    """How far two responses are apart, as a paragraph; nothing for any other number of them."""
    if len(responses) != 2:
        return ""
    gap = responses[0].running_sum[-1] - responses[1].running_sum[-1]
    words = "A and B tie" if gap == 0 else f"{'A' if gap > 0 else 'B'} is preferred"
    return f'<p id="verdict" data-gap="{gap:.9g}">A − B = <b>{gap:+.3f} nats</b>: {words}.</p>\n'


def _article(index: int, responses: Sequence[LensResponse], shown_by: Sequence[float], limit: float) -> str:
    r, count = responses[index], len(responses[index].ids)
    total = r.running_sum[-1]
    totals = {
        "tokens": count,
        "weighted sum": f"{total:+.3f} nats",
        "mean": f"{total / count:+.3f} nats",
        "unweighted sum": f"{sum(r.rewards):+.3f} nats",
        "log-prob": f"{sum(r.log_probs):.3f} nats",
    }
    shown = "".join(f"<span>{name} <b>{value}</b></span>" for name, value in totals.items())
    tokens = "".join(_token(r, h, total, shown_by[h] / limit) for h, total in enumerate(r.running_sum))
    return f"""<article data-tokens="{count}" data-total="{total:.9g}"><h2>{_name(index)}</h2>
<p class="totals">{shown}</p><div class="text">{tokens}</div>
{_chart(index, [x.running_sum for x in responses])}</article>
"""


def _token(r: LensResponse, h: int, running: float, colour: float) -> str:
    """`colour` is -1 or less at the lower pole of the scale, 1 or more at the upper, NaN for none."""
    values = (
        ("reward", "reward", r.rewards[h]),
        ("weight", "weight", r.weights[h]),
        ("log-prob", "log-prob", r.log_probs[h]),
        ("q", "Q", r.q[h]),
        ("v", "V(s_h)", r.v[h]),
        ("v-next", "V(s_{h+1})", r.v_next[h]),
        ("sum", "running sum", running),
    )
    data = "".join(f' data-{key}="{value:.9g}"' for key, _, value in values)
    quoted = f"“{visible(r.texts[h]).translate(ONE_LINE)}”" if r.texts[h] else "no character by itself"
    numbers = " · ".join(f"{name} {value:.3f}" for _, name, value in values)
    label = html.escape(f"token {h}: {quoted} · id {r.ids[h]} · {numbers}")
    side, share = ("above" if colour > 0 else "below"), (0 if math.isnan(colour) else min(abs(colour), 1))
    return (
        f'<span class="token {side}" style="--share:{share:.2%}" tabindex="0" role="note" aria-label="{label}" '
        f'data-id="{r.ids[h]}"{data}>{_text(r.texts[h]) or "⋯"}</span>'
    )


def _chart(index: int, sums: list[list[float]]) -> str:
    """The running sums as lines on shared axes, that of response `index` in front."""
    low, high = (pick(0.0, *map(pick, sums)) for pick in (min, max))
    longest, span = max(map(len, sums)), high - low or 1.0

    def line(k: int) -> str:
        points = " ".join(
            f"{WIDTH * h / longest:.2f},{HEIGHT * (high - y) / span:.2f}" for h, y in enumerate([0.0, *sums[k]])
        )
        return f'<polyline class="{"own" if k == index else "other"}" points="{points}"/>'

    zero = HEIGHT * high / span
    ticks = "".join(
        f'<text x="-6" y="{HEIGHT * (high - y) / span + 4:.2f}" text-anchor="end">{y:.1f}</text>'
        for y in {0.0, *(end for end in (low, high) if abs(end) > span / 10)}  # labels must not overlap
    )
    others = "".join(line(k) for k in range(len(sums)) if k != index)
    dashed = " (dashed: the other)" if others else ""
    return f"""<svg viewBox="-60 -10 {WIDTH + 70} {HEIGHT + 35}" role="img" data-low="{low:.9g}" data-high="{high:.9g}"
 aria-label="Running weighted sum of {_name(index)}">
<line class="axis" x1="0" x2="{WIDTH}" y1="{zero:.2f}" y2="{zero:.2f}"/>
<line class="axis" x1="0" x2="0" y1="0" y2="{HEIGHT}"/>{ticks}
<text y="{HEIGHT + 20}">running weighted sum, nats{dashed}</text>
<text x="{WIDTH}" y="{HEIGHT + 20}" text-anchor="end">{longest} tokens</text>
{others}{line(index)}</svg>"""
