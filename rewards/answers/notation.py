r"""Notation that math-verify does not read, rewritten to what it reads: Unicode, programmers' and cut-off LaTeX."""

from __future__ import annotations

import re
import unicodedata

_CHARACTERS = str.maketrans(
    {
        "π": r"\pi ",
        "∞": r"\infty ",
        "×": r"\times ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "∗": "*",
        "÷": r"\div ",
        "−": "-",
        "–": "-",
        "±": r"\pm ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "∈": r"\in ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∖": r"\setminus ",
        "∅": r"\emptyset ",
        "ℝ": r"\mathbb{R}",
        "ℤ": r"\mathbb{Z}",
        "ℕ": r"\mathbb{N}",
        "ℚ": r"\mathbb{Q}",
        "ℂ": r"\mathbb{C}",
        "٫": ".",
        "°": r"^\circ ",
        "…": r"\ldots ",
        "’": "'",
        "⟨": r"\langle ",
        "⟩": r"\rangle ",
        "α": r"\alpha ",
        "β": r"\beta ",
        "θ": r"\theta ",
        "φ": r"\phi ",
        "λ": r"\lambda ",
        "€": "",
        "£": "",
        "¥": "",
    }
)
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPTS = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_NAMES = (
    "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|alpha|beta|gamma|theta|phi|lambda|"
    "infty|cdot|times|leq|geq|cup|pm"
)
_REWRITTEN = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[bB]igg?)[lrm]?(?![A-Za-z])\.?", ""),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\frac\s+(\d)\s+(\d)", r"\\frac{\1}{\2}"),
        (r"\\displaystyle|\\limits|(?<!\\)\\!\s*|(?<!\\)\\\$|\\hspace\{[^{}]*\}|\\phantom\{[^{}]*\}", ""),
        (r"(?<=\d)(?:\{,\}|\\,|\\ |~)(?=\d{3}(?!\d))", ""),  # thousands, where no list is meant
        (r"(?<!\\)\\[,:;> ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\\(?:varnothing|O(?![A-Za-z]))|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\(l|g)eqslant(?![A-Za-z])", r"\\\1e "),
        (r"\\(?:dots|cdots|dotsc)(?![A-Za-z])|\.\.\.+", r"\\ldots "),
        (r"(?<=,)\s*\\ldots\s*(?=,)", r"\\text{dots}"),
        (r"^\s*\\(?:text|mbox|textbf|mathrm)\s*\{\s*(-?\d[^{}]*)\}\s*$", r"\1"),
        (r"\\operatorname\*?\{(arc)?(sin|cos|tan|cot|sec|csc)\}", r"\\\1\2"),
        (r"\\(?:mathrm|mathit|mathbf|text|rm|operatorname)\s*\{\s*([eidπ])\s*\}", r"{\1}"),
        (r"\\(?:mathrm|mathit|rm)\s+([A-Za-z]|\\pi)(?![A-Za-z])", r"{\1}"),
        (r"\bnp\.(?=[a-z])|\bmath\.(?=[a-z])", ""),
        (r"\*\*", "^"),
        (r"(?<![\w.\\}])(\d+(?:\.\d+)?|\.\d+)[eE]\+?(-?\d+)(?![\w.])", r"\1 \\times 10^{\2}"),
        (r"(?<![\d.])\.(?=\d)", "0."),
        (r"(?<=\d)\.(?=\s*(?:[-/+*^)}\],]|\\|$))(?!\s*\\(?:overline|dot|bar|ldots))", ""),
        (r"\^\s*\{?\s*\\circ\s*\}?\s*(?:\\(?:text|mathrm)\s*\{\s*)?[CFK]\s*\}?\s*$", ""),
        (r"(?<![\d.,/^_}])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\d.])", r"\1\\frac{\2}{\3}"),  # 3 1/2
    )
]
_BARE_NAME = re.compile(rf"(?<![\\A-Za-z{{])({_NAMES})(?![A-Za-z])|(?<=\{{)({_NAMES})(?=\}}|\s*[(+*/^-])")
_DOUBLE_BRACES = re.compile(r"(?<!\\)\{\s*\{([^{}]*)(?<!\\)\}\s*\}")  # they double the parser's time
_ROOT = re.compile(r"\\sqrt\s*\(([^()]*)\)")
_UNICODE_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+|[A-Za-z]|\\pi ?))")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*(?:\{(\d+)\}|(\d))")
_ONE_NUMBER = re.compile(
    r"(?P<before>[^\d,()\[\]{}]*)(?P<number>[1-9]\d{0,2}(?:[, ]\d{3})+(?:\.\d+)?)(?P<after>[^\d,(\[]*)"
)
_SPACED_LIST = re.compile(r",\s|\band\b|\bor\b|;")
_TEXT = re.compile(
    r"\\(?:text|mathrm|textbf|textit|textrm|mbox|mathbf|mathit|mathsf|textsf|operatorname)\s*\{([^{}]*)\}"
)


def tidy(answer: str) -> str:
    r"""An answer as LaTeX that math-verify reads, without what belongs to the sentence around it (``$``, a full stop,
    a stray backslash). Two answers that are tidied to the same text are the same answer."""
    text = answer if answer.isascii() else _ascii(answer)
    text = re.sub(r"(?<!\\)\$|(?<!\\)\\[()\[\]]", " ", text)
    text = re.sub(r"^\s*(?:\*\*|__)(.*?)(?:\*\*|__)\s*$", r"\1", text, flags=re.DOTALL)
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    while (flat := _DOUBLE_BRACES.sub(r"{\1}", text)) != text:
        text = flat
    text = _in_formulas(lambda part: _BARE_NAME.sub(lambda m: f"\\{m[1] or m[2]} ", part), text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = _REPEATING.sub(_repeating, text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"(?:(?<!\\)[.,;:]|\s|\\)+$", "", text)
    return _thousands(text)


def _ascii(text: str) -> str:
    """Unicode's mathematical characters and digits as LaTeX."""
    text = re.sub(r"(?<=\d)\s?[kcm]?m[²³]\s*$", "", text)
    text = _SUPERSCRIPTS.sub(lambda m: f"^{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = _SUBSCRIPTS.sub(lambda m: f"_{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = "".join(
        rf"\frac{{{'}{'.join(unicodedata.normalize('NFKC', c).split(chr(0x2044)))}}}"
        if unicodedata.decomposition(c).startswith("<fraction>")
        else c
        for c in text.translate(_CHARACTERS)
    )
    text = _UNICODE_ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2]}}}", unicodedata.normalize("NFKC", text))
    return "".join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text)


def unspaced(text: str) -> str:
    r"""A tidied answer without white space but between digits, and without braces around one character."""
    text = re.sub(r"\\frac\s*(\w)\s*(\w)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(\\sqrt)\s*\{(\w)\}|(?<=[_^])\{(\w)\}", lambda m: (m[1] or "") + (m[2] or m[3]), text)
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def words(text: str) -> tuple[str | None, bool]:
    r"""The words of an answer that may be nothing else, in lower case, and whether it is nothing else for certain.

    ``\text{Evelyn}``, "even" and ``\textbf{(C)}`` are words, "ab" may be a product, ``x+1`` and ``2`` are none.
    """
    bare, wrapped = _TEXT.subn(r"\1", text)
    bare = " ".join(bare.split()).strip("().:*' ")
    if not re.fullmatch(r"[^\W\d_]+(?:[ '&.,-]+[^\W\d_]+)*", bare):
        return None, False
    return bare.casefold(), bool(wrapped) or max(map(len, re.findall(r"[^\W\d_]+", bare))) > 3


def _in_formulas(rewrite, text: str) -> str:
    r"""A text rewritten but for what stands within ``\text{...}``."""
    parts, end = [], 0
    for found in re.finditer(r"\\(?:text[a-z]*|mbox)\s*\{[^{}]*\}", text):
        parts += [rewrite(text[end : found.start()]), found.group()]
        end = found.end()
    return "".join([*parts, rewrite(text[end:])])


def _repeating(found: re.Match) -> str:
    """0.1\\overline{6} as the fraction that it is."""
    whole, once, again = found[1] or "0", found[2], found[3] or found[4]
    numerator = int(whole + once + again) - int(whole + once)
    return rf"\frac{{{numerator}}}{{{'9' * len(again) + '0' * len(once)}}}"


def _thousands(text: str) -> str:
    """1,000 and 1 000 as 1000, where they are no list and no pair."""
    if found := _ONE_NUMBER.fullmatch(text):
        return found["before"] + re.sub("[, ]", "", found["number"]) + found["after"]
    if _SPACED_LIST.search(text) and not re.search(r"[()\[\]]", text):
        return re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)", lambda m: m[0].replace(",", ""), text)
    return text
