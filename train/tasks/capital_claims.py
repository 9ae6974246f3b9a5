"""The name that a response gives as the capital of a country, read strictly.

A response is cut into sentences and lines. A sentence claims a name in one of three ways:

- "The capital [city] of COUNTRY is NAME", also with a colon, or "its capital is NAME";
- "NAME is the capital [of COUNTRY]";
- NAME alone, as the first sentence: "NAME, COUNTRY", "It's NAME.", "Answer: NAME".

What stands at NAME has to be the name whole: "Santiago de Cuba" is not Santiago, "Mexico" not Mexico City, and "Paris,
London or Rome" is no name. What goes on about it (", which lies ...", ", not Sydney") is chatter, and so are later
sentences, unless they claim another name, take the claim back ("No, ...") or are one to three words that could be
another answer. A claim about another country is none, nor is a question, an "if" or a denial. Case, accents,
apostrophes, hyphens and bold type do not matter; spelling does. What is right but said in another way ("Japan's
capital, Tokyo, has ...") counts as not answered, and so does a name that an unknown word follows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from functools import lru_cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Where one of these follows a name, the name has ended and something is said about it.
_GOES_ON = _words(
    """a about after along although an as at because between bordering by capital close considered despite due
    established famous for formerly founded from has have having home in is it its known largest lies located near
    nestled not now off officially often on one renowned serves serving since situated sometimes surrounded
    that the there they this under was were where which while who whose with within you"""
)
_PRONOUNS = frozenset(["this city", "the city", "that city", "our city", "he", "she"])
_RETRACTS = _words("no not nope actually sorry wait oops correction or rather false wrong incorrect")
_WRONG = re.compile(r"\b(?:wrong|incorrect|false|untrue|kidding|joking)\b")
_DENIES = re.compile(
    r"\b(?:not|no|never|nor|neither|false|wrong|incorrect|untrue|wrongly|falsely|"
    r"mistakenly|incorrectly|if|whether|unless|dont|doesnt|isnt|wasnt|arent|cant|"
    r"cannot|wont|didnt|suppose|imagine|pretend)\b"
)
_ADVERB = "indeed|officially|currently|now|actually|simply|also"
_NAME = re.compile(rf"(?:(?:{_ADVERB}|called|named|known as|the|(?:\w+ )?(?:city|town) of)\s+)*(?P<name>\w+(?: \w+)*)")
_OPENING = re.compile(
    r"(?:(?:(?:the |my |your )?(?:correct |right |final |short )?answer(?: is\b|(?=\s*:))|it is\b|its\b|that is\b|"
    r"thats\b|a(?=:)|sure\b|yes\b|certainly\b|of course\b|hello\b|hi\b|okay\b|(?:great|good) question\b)[\s,:]*)*"
)
_CONNECTIVES = re.compile(rf"^(?:(?:{_ADVERB}|formerly|previously|once|known|as|called|spelt|spelled|in|the)\s+)+")
_UNCLEAR = ""  # what a sentence claims where it is not one name


def normalise(text: str) -> str:
    """Lower case without accents, apostrophes, hyphens, bold type; "Saint" is "st", and "D.C." is "dc"."""
    text = re.sub(r"(?<![\w.])(?:[A-Za-z]\.)+[A-Za-z]?(?!\w)", _initials, text)
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()
    text = re.sub(r"['’‘ʻʼ`´\"“”*_]", "", text)
    text = re.sub(r"(?<=\w)[-‐‑](?=\w)", " ", text)
    text = re.sub(r"\s[-–—]+\s|[–—]", ", ", text)
    text = re.sub(r"\bsaint\b|\bst\.", "st", text)
    text = re.sub(r"\b(washington|bogota), dc\b", r"\1 dc", text)
    return re.sub(r"[^\S\n]+", " ", text).strip().rstrip(".")


def _initials(match: re.Match[str]) -> str:
    """Initials without their full stops, but for one that ends a sentence; "A." alone stays."""
    letters, then = match[0].replace(".", ""), match.string[match.end() : match.end() + 9]
    ends = match[0].endswith(".") and (not then.strip() or (then[0].isspace() and then.lstrip()[0].isupper()))
    return match[0] if len(letters) == 1 else letters + "." * ends


def claimed_name(response: str, country: Sequence[str], right: Collection[str]) -> str | None:
    """The one name that ``response`` claims to be the capital, normalised.

    Args:
        response: its text.
        country: the names of the country that was asked for.
        right: its accepted capitals, normalised; one may stand beside another ("Kyiv, also Kiev").

    Returns:
        None where no name is claimed, several are, or the claim is taken back.
    """
    names = frozenset(normalise(name).removeprefix("the ") for name in country)
    claims: list[str] = []
    for i, sentence in enumerate(re.findall(r"(?:[^.!?;\n]|[.!?](?=\w))+[.!?]*", normalise(response))):
        claim = None if "?" in sentence else _claim(sentence.strip(" .!,"), names, right, first=i == 0)
        claims += [] if claim is None else [claim]
    different = {"right" if claim in right else claim for claim in claims}
    return claims[0] if len(different) == 1 and _UNCLEAR not in different else None


def _claim(sentence: str, country: frozenset[str], right: Collection[str], first: bool) -> str | None:
    """The name that a sentence claims; None if it claims nothing."""
    opening = _OPENING.match(sentence)
    sentence = sentence[opening.end() if opening else 0 :]
    words = sentence.replace(",", "").split()
    if not words:
        return None
    if not first and words[0] in _RETRACTS:
        return _UNCLEAR
    name_first, capital_first = _patterns(country)
    if (match := name_first.match(sentence)) and "capital" not in match["name"]:
        return None if match["name"] in _PRONOUNS else _one_name(match["name"], country, right)
    if (match := capital_first.match(sentence)) and (match["of"] or _leads_to_it(match["before"], country)):
        return None if _DENIES.search(match["before"]) else _one_name(match["rest"], country, right)
    if first:
        return _one_name(sentence, country, right, alone=True)
    if len(words) > 3 or words[0] in _GOES_ON or sentence.endswith(":") or sentence in country:
        return None
    return _one_name(sentence, country, right, alone=True) or _UNCLEAR


def _leads_to_it(before: str, country: frozenset[str]) -> bool:
    """Whether what stands before "capital is" makes it that of the country: "its", or "France is a state whose"."""
    return before.strip() in ("", "the", "its", "their", "and its", "and the") or any(
        re.search(rf"\b{re.escape(name)}s?\b", before) for name in country
    )


@lru_cache(maxsize=512)
def _patterns(country: frozenset[str]) -> tuple[re.Pattern, re.Pattern]:
    """Those of "NAME is the capital of COUNTRY" and of "the capital of COUNTRY is NAME"."""
    named = "|".join(map(re.escape, sorted(country, key=len, reverse=True)))
    asked = rf"(?:(?:the )?(?:{named})|(?:the|this|that|our|your) (?:country|nation|state))"
    capital = rf"capital\b(?: city)?(?: and (?:the )?(?:largest|most populous) city)?(?P<of> (?:of|in|for) {asked}\b)?"
    before = rf"(?:(?:{_ADVERB}|both|and|the|a|its|national|official|current|beautiful|political)\s+)*"
    is_name = r"(?: (?:is|remains|called|named)\b|\s*:)\s*(?P<rest>.*)"
    return (
        re.compile(rf"(?P<name>.+?)\s+(?:is|remains|serves as)\s+{before}{capital}(?! (?:of|in|for)\b)"),
        re.compile(rf"(?P<before>.*?)\b{capital}(?: currently| now| today)?{is_name}"),
    )


def _one_name(text: str, country: frozenset[str], right: Collection[str], alone: bool = False) -> str | None:
    """The name at the start of ``text``; `_UNCLEAR` where something follows it that is not about it, None where there
    is no name. ``alone``: the text is all that is said, so no verb may follow."""
    match = _NAME.match(text)
    if match is None:
        return None
    words = match["name"].split()
    end = next((i for i, word in enumerate(words) if word in _GOES_ON or word in ("and", "or", "but")), len(words))
    name, rest = " ".join(words[:end]), " ".join(words[end:]) + text[match.end() :]
    if not name or (alone and (name in country - set(right) or not re.match(r"$|\s*[,(]|(?:in|and|or)\b", rest))):
        return None
    return name if _is_about_it(rest, country, right) and not _WRONG.search(text) else _UNCLEAR


def _is_about_it(rest: str, country: frozenset[str], right: Collection[str]) -> bool:
    """Whether what follows a name gives no other one: the country, another spelling of the name, or chatter."""
    named = "|".join(map(re.escape, sorted(country, key=len, reverse=True)))
    for part in re.split(r"[,()/&:]|\band\b|\bor\b", re.sub(rf"\b(?:{named})\b", "", rest)):
        core = _CONNECTIVES.sub("", part.strip() + " ", count=1).strip()
        if core and core not in right:
            return part.split()[0] in _GOES_ON
    return True
