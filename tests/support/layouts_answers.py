"""Layouts with several right answers, objects, messages, and files of one's own."""

from layout_rows import BOX, ONE, SUM, Layout, user

ANSWERS = {
    "NQ-open": Layout([{"question": "Who ran?", "answer": ["Ann", "Ann Lee"]}], ["Who ran?"], [("Ann", "Ann Lee")]),
    "TriviaQA": Layout(
        [
            {
                "question": "Who ran?",
                "question_id": "q",
                "entity_pages": {"title": []},
                "answer": {"value": "Ann", "aliases": ["Ann", "Ann Lee"], "normalized_value": "ann", "type": "Wiki"},
            }
        ],
        ["Who ran?"],
        [("Ann", "Ann Lee")],
    ),
    "SQuAD": Layout(
        [
            {
                "id": "a",
                "context": "Ann ran.",
                "question": "Who ran?",
                "answers": {"text": ["Ann"], "answer_start": [0]},
            }
        ],
        ["Ann ran.\n\nWho ran?"],
        [("Ann",)],
    ),
    "DROP": Layout(
        [
            {
                "passage": "Ann ran 2 and 3 miles.",
                "question": "How many miles?",
                "answers_spans": {"spans": ["5"], "types": ["number"]},
            }
        ],
        ["Ann ran 2 and 3 miles.\n\nHow many miles?"],
        [("5",)],
        unanswered="has no column of answers",
        flags={"answer_column": "answers_spans.spans"},
    ),
    "BoolQ": Layout(
        [{"question": "did ann run", "answer": True, "passage": "Ann ran."}],
        ["Ann ran.\n\ndid ann run"],
        [("True",)],
        said="1 truth values in column answer",
    ),
    "DAPO-Math-17k (verl)": Layout(
        [
            {
                "data_source": "math_dapo",
                "prompt": user(SUM),
                "ability": "MATH",
                "reward_model": {"ground_truth": "5", "style": "rule"},
                "extra_info": {"index": "1"},
            }
        ],
        **ONE,
    ),
    "DAPO-Math-17k, processed": Layout(
        [
            {
                "prompt": SUM,
                "solution": "5",
                "data_source": "math_dapo",
                "source_prompt": user("long: " + SUM),
                "ability": "MATH",
                "reward_model": {"ground_truth": "5", "style": "rule"},
            }
        ],
        **ONE,
    ),
    "Skywork-OR1": Layout(
        [
            {
                "data_source": "train-math",
                "prompt": user(SUM),
                "ability": "math",
                "reward_model": {"ground_truth": '["5", "5.0"]', "style": "rule"},
                "extra_info": {"index": 1},
            }
        ],
        [SUM],
        [("5", "5.0")],
    ),
    "SYNTHETIC-1": Layout([{"problem_id": "p", "prompt": SUM, "verification_info": '{"ground_truth": "5"}'}], **ONE),
    "RLVR": Layout([{"messages": user(SUM), "ground_truth": "5", "dataset": "gsm8k"}], **ONE),
    "slime": Layout([{"prompt": user(SUM), "label": "5"}], **ONE),
    "ShareGPT": Layout(
        [{"id": "a", "conversations": [{"from": "human", "value": SUM}, {"from": "gpt", "value": BOX}]}], **ONE
    ),
    "ShareGPT, chat": Layout(
        [{"id": "a", "conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi!"}]}],
        ["Hello"],
        [],
        unanswered="has no column of answers",
    ),
    "OpenThoughts": Layout(
        [{"system": "Think.", "conversations": [{"from": "user", "value": SUM}, {"from": "assistant", "value": BOX}]}],
        **ONE,
    ),
    "Alpaca": Layout(
        [
            {"instruction": "Add these.", "input": "2, 3", "output": "5", "text": "t"},
            {"instruction": "Greet.", "input": "", "output": "Hi", "text": "t"},
        ],
        ["Add these.\n\n2, 3", "Greet."],
        [],
        unanswered="has no column of answers",
    ),
    "CSV of one's own": Layout(
        [{"question": 'Say "a, b"\nonce.', "answer": "007"}], ['Say "a, b"\nonce.'], [("007",)]
    ),
}
