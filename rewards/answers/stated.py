r"""Answers that are stated without a box: "So the answer is 3/4.", or else the last formula or number of a text."""

from __future__ import annotations

import re

_WINDOW = 400  # characters after "answer" in which it has to be, as it is said at once
_SAID = re.compile(
    r"####\s*|\banswers?\b(?:\s*\*\*|\s*__)?(?:\s+to\s+[^.:\n]{0,80}?|(?:\s+[a-z]+){1,2}?)??\s*"
    r"(?::|=|\b(?:is|are|was|must be|should be|will be|would be|equals|becomes|comes out as|as)\b)\s*"
    r"(?:(?::|=|\b(?:therefore|thus|then|simply|just|exactly|clearly|equal to|given by|now|also|hence|is)\b,?)\s*)*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"""(?<![\d\s(\\])[.!?](?=\s|$|\*|_|<|")|(?<=\d)[.!?](?=\s|$|\*|_|<|")|\n\s*\n|\n(?=\s*[A-Z#*-])|</|<\|"""
)
_FORMULA = re.compile(
    r"\$\$(?P<display>(?:[^$]|\\\$)+?)\$\$|(?<!\\)\\\[(?P<bracket>.+?)\\\]|(?<!\\)\\\((?P<round>.+?)\\\)"
    r"|(?<![\\\d$])\$(?P<inline>(?:\\\$|[^$\n])+?)(?<!\\)\$",
    re.DOTALL,
)
_VERB = re.compile(r"\b(?:is|are|equals?|equal to|be|get|have|was)\b(?!\s+(?:the|a|an|not|that)\b)\s*")
_JOINED = re.compile(r"\s*(?:,?\s*(?:and|or)\b|,|;)\s*(?:[A-Za-z]\w?\s*=\s*)?")
_OPERATOR = r"(?:\*\*|[-+*/^=×·÷−<>≤≥±:!]|,(?=\s?[-(\d]))"
_ATOM = (
    r"(?:\\?[$€£]?\s?(?:\d{1,3}(?:,(?:\\!)?\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+|,\d+)?(?:[eE][-+]?\d+)?"
    r"(?:\s?\\?%|\s?percent\b|°)?"
    r"|\\[A-Za-z]+(?:\s?\{(?:[^{}]|\{[^{}]*\})*\})*|√|π|∞|∅|[½⅓⅔¼¾]|(?:pi|sqrt|sin|cos|tan|ln|log|exp|infinity|inf)\b"
    r"|[A-Za-z](?![A-Za-z])|[⁰¹²³⁴⁵⁶⁷⁸⁹]+|_\{?\w+\}?|\{[^{}]*\}|[(\[](?:[^()\[\]]|\([^()]*\)){1,80}[)\]])"
)
_PLAIN = re.compile(rf"[-+−±~≈]?\s?{_ATOM}(?:\s?{_OPERATOR}\s?[-+−±]?\s?{_ATOM}|{_ATOM}|\s(?=\d+/\d){_ATOM})*!*")
_BARE_FORMULA = re.compile(rf"(?<![\w.,\\$'’])(?:[A-Za-z]\w?\s?=\s?)?{_PLAIN.pattern}")
_NUMBER = re.compile(r"(?<![A-Za-z\d.])[-+−]?\s?[(\[]?[$€£]?\.?\d|\\frac|[π√∞]")
_COMMAND = re.compile(r"\\(?:begin|end|text[a-z]*|mbox|math[a-z]*|operatorname\*?)\s*\{[^{}]*\}|\\[A-Za-z]+")
# A word of the sentence, unlike names of functions and products of variables: 2xy + ab.
_WORD = re.compile(
    r"(?<![A-Za-z{])(?=[A-Za-z]*[a-z])"
    r"(?!(?:and|or|pi|sqrt|a?r?c?sin|a?r?c?cos|a?r?c?tan|cot|sec|csc|ln|log|exp|inf|infinity|np|percent|mod)\b)"
    r"(?:[A-Za-z]{4,}|(?<![\d(^_])(?<![-+*/=]\s)[A-Za-z]{2,3}(?!\s?[+*/^=)_]|\s-\s))(?![A-Za-z])"
)
_WORDS = re.compile(r"(?:\*\*|__|\")?\(?[A-Za-z][\w'-]*\)?(?:\s+[A-Za-z][\w'-]*){0,3}")
TAIL = 20_000  # characters from the end in which a formula or number is looked for where no answer is announced


def stated_answer(text: str) -> str | None:
    """The answer of a text without a box, however long it is; None where it states none.

    It is what follows the last "answer is", "answer:" and the like that is followed by a formula, a number or a word.
    Without any, it is the last formula or number in the last TAIL characters. A full stop, a comma or a reason that
    follows ("2/3, as claimed.") is no part of it.
    """
    if is_bare(text):
        return text.strip().strip("*`") or None
    places = [found.end() for found in _SAID.finditer(text)]
    for start in reversed(places):
        if answer := _at(text, start):
            return answer
    for start in reversed(places):
        word = _WORDS.match(text, start)
        if word and text[word.end() : word.end() + 1] in ("", *'.,;!\n*_"'):
            return word.group().strip('*_" ')
    return _last(text[-TAIL:])


def _at(text: str, start: int) -> str | None:
    """The formula or number that a sentence gives from `start` on."""
    sentence = _sentence(text, start)
    marks = re.match(r"\s*(?:\*\*|__|`)?\s*", sentence)
    begin = marks.end() if marks else 0
    formula = _FORMULA.match(sentence, begin)
    if formula:
        return _formulas(sentence, formula)
    word = _WORD.search(_hidden(sentence), begin)
    plain = sentence[begin : word.start() if word else len(sentence)]
    plain = re.sub(r"(?:[\s,;:*_`(]|\b(?:and|or)\b)+$", "", plain)
    if plain and "$" not in plain.strip("$") and _is_answer(plain, word is not None):
        return plain
    verbs = list(_VERB.finditer(_hidden(sentence), begin))
    if verbs and (answer := _at(sentence, verbs[-1].end())):  # The answer: the largest $n$ is 34.
        return answer
    formula = _FORMULA.search(sentence)
    if formula:
        return _formulas(sentence, formula)
    numbers = [m for m in _BARE_FORMULA.finditer(sentence) if _NUMBER.search(m.group())]
    return _with_unit(numbers[0].group()) if numbers else None


def _sentence(text: str, start: int) -> str:
    window = text[start : start + _WINDOW]
    formulas = [m.span() for m in _FORMULA.finditer(window)]
    for end in _SENTENCE_END.finditer(window):
        inside = any(a <= end.start() < b for a, b in formulas)
        if not inside and window[: end.start()].strip(" *_`\n"):
            return window[: end.start()]
    return window


def _is_answer(plain: str, goes_on: bool) -> bool:
    """Whether what stands before the first word is meant as an answer; "a" and "I" only begin a sentence."""
    if _NUMBER.search(plain) or re.search(r"[=+*/^<>≤≥\\]|\bpi\b", plain):
        return True
    return not goes_on or re.fullmatch(r"\(?[B-HJ-Zb-hj-z]\)?", plain) is not None


def is_bare(text: str) -> bool:
    r"""Whether a text is an answer and nothing around it: ``\frac12``, ``x=1 or x=2``, ``\text{Evelyn}``."""
    alone = text.strip()
    if (
        not alone
        or len(alone) > _WINDOW
        or _SAID.search(alone)
        or "\n\n" in alone
        or (alone.count("$") > 2 and not _JOINED.search(alone))
    ):
        return False
    # a product of variables has no vowel: xy, unlike "no"
    return _WORD.search(_hidden(alone)) is None or re.fullmatch("[b-df-hj-np-tv-z]{2,3}", alone) is not None


def is_prose(text: str) -> bool:
    """Whether a text announces an answer, or has sentences with too many words to be an answer itself."""
    if _SAID.search(text):
        return True
    words, alone = len(_WORD.findall(_hidden(text))), text.strip()
    if words and alone.endswith(".") and alone.count("$") % 2 == 0 and _FORMULA.search(alone):
        return True
    return words >= 5 and re.search(r"\.(?:\s|$)|\n", alone) is not None


def _hidden(text: str) -> str:
    """A text of the same length, in which commands and what they quote are no words."""
    return _COMMAND.sub(lambda m: "\\" + " " * (len(m.group()) - 1), text)


def _formulas(text: str, first: re.Match) -> str:
    """A formula, with those that "," or "and" joins to it: $1$ and $2$."""
    parts, end = [_inside(first)], first.end()
    while joint := _JOINED.match(text, end):
        following = _FORMULA.match(text, joint.end())
        if not following:
            break
        parts, end = [*parts, _inside(following)], following.end()
    percent = re.match(r"\s*(?:\\?%|percent\b)", text[end:])
    return ", ".join(parts) + (r"\%" if percent and len(parts) == 1 else "")


def _inside(formula: re.Match) -> str:
    return str(next(part for part in formula.groups() if part is not None)).strip()


def _last(text: str) -> str | None:
    formulas = list(_FORMULA.finditer(text))
    spans = [m.span() for m in formulas]
    numbers = [
        m
        for m in _BARE_FORMULA.finditer(text)
        if _NUMBER.search(m.group()) and not any(a <= m.start() < b for a, b in spans)
    ]
    last = numbers[-1] if numbers else None
    if formulas and (last is None or formulas[-1].end() > last.end()):
        first = len(formulas) - 1
        while first and _JOINED.fullmatch(text[formulas[first - 1].end() : formulas[first].start()]):
            first -= 1
        return _formulas(text, formulas[first])
    return _with_unit(last.group()) if last else None


def _with_unit(plain: str) -> str:
    return re.sub(r"\s*percent\b", r"\\%", plain).strip(" ,:;=*")
