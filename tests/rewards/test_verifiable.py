"""Rules that check a response: hand-made cases, as text and as chat messages, and what is odd about them."""

import pytest
from tiny_models import tiny_tokenizer

from rewards.verifiable import Accuracy, ExactNumeric, ReasoningAccuracy, ThinkFormat, boxed, find_number

PROMPTS = ["?"]


def score(reward, text, solution=None):
    """The reward of one response, which has to be the same as text and as chat messages."""
    columns = {} if solution is None else {"solution": [solution]}
    as_text = reward(prompts=PROMPTS, completions=[text], **columns)
    as_chat = reward(
        prompts=PROMPTS, completions=[[{"role": "assistant", "content": text}]], completion_ids=[[7]], **columns
    )
    assert as_text == as_chat
    assert len(as_text) == 1
    return as_text[0]


@pytest.mark.parametrize(
    "text, value",
    [
        (r"so \boxed{5}.", 1.0),
        (r"\boxed{\frac{1}{2}}", 1.0),
        (r"\boxed{} but \boxed{1}", 1.0),
        (r"\boxed{1} but \boxed{ }", 0.0),
        (r"\boxed{1} but \boxed{2", 0.0),
        ("5", 0.0),
        ("", 0.0),
    ],
)
def test_boxed(text, value):
    assert score(boxed, text) == value


@pytest.mark.parametrize(
    "text, value",
    [("<think>a</think>b", 1.0), ("<think>a", 0.0), ("b<think>a</think>", 0.0), ("", 0.0)],
)
def test_think_format(text, value):
    assert score(ThinkFormat(), text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("a</think>b", 1.0), ("a", 0.0), ("<think>a</think>b", 0.0), ("a</think>", 1.0)]
)
def test_think_format_where_the_prompt_has_opened_it(text, value):
    opened = tiny_tokenizer()
    opened.chat_template = "{{ messages[0]['content'] }}{% if add_generation_prompt %}<think>\n{% endif %}"
    message = [{"role": "user", "content": "What is 2?"}]
    assert ThinkFormat()(prompts=["What is 2? <think>\n"], completions=[text]) == [value]
    assert ThinkFormat(opened=True)(prompts=[message], completions=[text]) == [value]
    assert ThinkFormat(tokenizer=opened)(prompts=[message], completions=[text]) == [value]
    begun = [*message, {"role": "assistant", "content": "<think>"}]
    assert ThinkFormat()(prompts=[begun], completions=[text]) == [value]


def test_think_format_follows_each_rows_rendering():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{% if enable_thinking %}<think>{% endif %}"
    prompts = [[{"role": "user", "content": "What is 2?"}]] * 2
    rendering = [{"chat_template_kwargs": {"enable_thinking": thinks}} for thinks in (True, False)]
    score = ThinkFormat(tokenizer=tokenizer)
    assert score(prompts=prompts, completions=["a</think>b"] * 2, rendering=rendering) == [1.0, 0.0]
    assert score(prompts=prompts, completions=["<think>a</think>b"] * 2, rendering=rendering) == [0.0, 1.0]


@pytest.mark.parametrize(
    "text, solution, value",
    [
        (r"\boxed{\frac{1}{2}}", r"Half, \boxed{0.5}.", 1.0),
        (r"\boxed{0.5}", "1/2", 1.0),
        (r"\boxed{2}", r"\boxed{3}", 0.0),
        (r"\boxed{2", r"\boxed{2}", 0.0),
        ("", r"\boxed{2}", 0.0),
        (r"\boxed{2}", "", None),
        (r"\boxed{2", r"\boxed{1", None),
        ("The answer is 2/3.", "2/3", 1.0),
        (r"$\boxed{5}$ then \boxed{", "5", 0.0),
        (r"I first got \boxed{7}, but that is wrong. Final: \boxed{5}", "5", 1.0),
        (r"\boxed{2}", ["1", "2"], 1.0),
        (r"\boxed{2}", 2, 1.0),
        (r"\boxed{\text{no}}", "no", 1.0),
    ],
)
def test_accuracy(text, solution, value):
    assert score(Accuracy(), text, solution) == value


def test_reasoning_accuracy():
    solution = r"\boxed{3}"
    texts = {r"<think>\boxed{2}</think>\boxed{3}": 1.0, r"<think>\boxed{3}</think>\boxed{2}": 0.0, r"\boxed{3}": 0.0}
    assert {text: score(ReasoningAccuracy(), text, solution) for text in texts} == texts


@pytest.mark.parametrize(
    "text, number",
    [
        ("3 apples, then 4.", "4"),
        ("it is 1,234.50 dollars", "1234.5"),
        ("1,2,3", "3"),
        ("so x=-2", "-2"),
        ("5-3", "3"),
        ("5 - -3", "-3"),
        ("\N{MINUS SIGN}7", "-7"),
        ("about .25", "0.25"),
        ("2e3", "2000"),
        ("1e9999", "9999"),  # such an exponent is none
        (r"\boxed{7} of 9", "7"),
        (r"\boxed{\$1{,}234 }", "1234"),
        (r"\boxed{50\%}", "50"),
        (r"7 \boxed{x = 7}", None),  # not a number alone
        (r"7 \boxed{\frac{1}{2}}", None),
        (r"7 \boxed{7", None),
        (r"7 \boxed{}", None),
        ("none", None),
        ("", None),
    ],
)
def test_find_number(text, number):
    found = find_number(text)
    assert found is None if number is None else found == pytest.approx(type(found)(number), abs=0)


def test_exact_numeric():
    big = "12345678901234567890"
    reward = ExactNumeric()
    assert score(reward, r"It is \boxed{72.0}", r"So \boxed{72}") == 1.0
    assert score(reward, "It is 71", "#### 72") == 0.0
    assert score(reward, "", "72") == 0.0
    assert score(reward, "72", "none") is None
    assert (score(reward, big, big), score(reward, big, big[:-1] + "1")) == (1.0, 0.0)  # beyond a float
    assert (score(reward, "1.01", "1"), score(ExactNumeric(tolerance=0.1), "1.01", "1")) == (0.0, 1.0)
    assert ExactNumeric(column="answer")(completions=["72", "7"], answer=[72, 7.5]) == [1.0, 0.0]


@pytest.mark.parametrize("reward", [Accuracy(), ReasoningAccuracy(), ExactNumeric()])
def test_a_missing_column_is_named_with_those_found(reward):
    with pytest.raises(
        ValueError, match=f"{reward.__name__} needs the column 'solution', .* has answer, level: rename"
    ):
        reward(prompts=PROMPTS, completions=["5"], answer=["5"], level=[1], trainer_state=object())


@pytest.mark.parametrize("reward", [boxed, ThinkFormat(), Accuracy(), ReasoningAccuracy(), ExactNumeric()])
def test_each_row_by_itself(reward):
    texts = [r"\boxed{1}", "", r"<think></think>\boxed{2}", "3"]
    rows = [score(reward, text, str(i + 1)) for i, text in enumerate(texts)]
    assert reward(prompts=["?"] * 4, completions=texts, solution=["1", "2", "3", "4"]) == rows
    assert reward(prompts=[], completions=[], solution=[]) == []


def test_accuracy_with_a_tolerance():
    assert score(Accuracy(), r"\boxed{0.33}", "1/3") == 0.0
    assert score(Accuracy(tolerance=0.02), r"\boxed{0.33}", "1/3") == 1.0


def test_accuracy_says_what_it_compared():
    said = {}
    Accuracy()(completions=["It is 5."], solution=["#### 5"], log_extra=said.__setitem__)
    assert said == {"gold": ["5"], "answer": ["5"]}
