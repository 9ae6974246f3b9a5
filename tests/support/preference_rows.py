"""A small row of each layout of preference files, beside the prompt and the pairs that it means."""

import json


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def human(text):
    return {"from": "human", "value": text}


def gpt(text):
    return {"from": "gpt", "value": text}


TWO_TURNS = [user("Name a tree."), assistant("Oak."), user("Another?")]
HH = "\n\nHuman: Name a tree.\n\nAssistant: Oak.\n\nHuman: Another?\n\nAssistant:"
ASK = [user("Name a tree.")]
TEXTS = {"chosen": "Oak.", "rejected": "Fish."}
WHOLE = {"chosen": [*ASK, assistant("Oak.")], "rejected": [*ASK, assistant("Fish.")]}
LATER = {"chosen": [*TWO_TURNS, assistant("Elm.")], "rejected": [*TWO_TURNS, assistant("Fish.")]}


def completion(text, overall, fine):
    return {"response": text, "overall_score": overall, "fine-grained_score": fine, "model": "m"}


# name, row, prompt, pairs of (better, worse)
ROWS = [
    ("text", {"prompt": "Name a tree.", **TEXTS}, ASK, [("Oak.", "Fish.")]),
    ("TRL", {"prompt": ASK, "chosen": [assistant("Oak.")], "rejected": [assistant("Fish.")]}, ASK, None),
    ("TRL, implicit prompt", {**LATER}, TWO_TURNS, [("Elm.", "Fish.")]),
    (
        "UltraFeedback binarized",
        {
            "prompt": "Name a tree.",
            "prompt_id": "1",
            "messages": [*ASK, assistant("Oak.")],
            **WHOLE,
            "score_chosen": 8.0,
            "score_rejected": 4.0,
        },
        ASK,
        None,
    ),
    ("the last turn beside conversations", {"prompt": "Another?", **LATER}, TWO_TURNS, [("Elm.", "Fish.")]),
    ("the first turn beside conversations", {"prompt": "Name a tree.", **LATER}, TWO_TURNS, [("Elm.", "Fish.")]),
    (
        "a prompt of messages, repeated with a system message",
        {
            "prompt": ASK,
            "chosen": [system("Be brief."), *ASK, assistant("Oak.")],
            "rejected": [system("Be brief."), *ASK, assistant("Fish.")],
        },
        [system("Be brief."), *ASK],
        None,
    ),
    (
        "a prompt of messages that the responses go on from",
        {
            "prompt": ASK,
            "chosen": [assistant("Oak."), user("Another?"), assistant("Elm.")],
            "rejected": [assistant("Oak."), user("Another?"), assistant("Fish.")],
        },
        TWO_TURNS,
        [("Elm.", "Fish.")],
    ),
    ("hh-rlhf", {"chosen": f"{HH} Elm.", "rejected": f"{HH} Fish."}, TWO_TURNS, [("Elm.", "Fish.")]),
    (
        "hh-rlhf with a prompt column",
        {"prompt": HH, "response": " Elm.", "chosen": " Elm.", "rejected": " Fish."},
        TWO_TURNS,
        [("Elm.", "Fish.")],
    ),
    (
        "hh-rlhf with the whole text beside a prompt",
        {"prompt": HH, "chosen": f"{HH} Elm.", "rejected": f"{HH} Fish."},
        TWO_TURNS,
        [("Elm.", "Fish.")],
    ),
    (
        "preference test sets, turns as a list of texts",
        {"prompt": ["Name a tree.", "Oak.", "Another?"], "chosen": "Elm.", "rejected": "Fish."},
        TWO_TURNS,
        [("Elm.", "Fish.")],
    ),
    (
        "UltraFeedback",
        {
            "source": "s",
            "instruction": "Name a tree.",
            "completions": [completion("Fish.", 2, 1.5), completion("Oak.", 9, 4.5), completion("Elm.", 9, 4.75)],
        },
        ASK,
        [("Oak.", "Fish."), ("Elm.", "Fish.")],
    ),
    (
        "SHP",
        {"history": "Name a tree.", "human_ref_A": "Oak.", "human_ref_B": "Fish.", "labels": 1, "score_A": 9},
        ASK,
        None,
    ),
    ("SHP, B", {"history": "Name a tree.", "human_ref_A": "Fish.", "human_ref_B": "Oak.", "labels": 0}, ASK, None),
    (
        "SafeRLHF",
        {
            "prompt": "Name a tree.",
            "response_0": "Fish.",
            "response_1": "Oak.",
            "better_response_id": 1,
            "safer_response_id": 0,
        },
        ASK,
        None,
    ),
    (
        "LLaMA-Factory, alpaca",
        {"instruction": "Name a tree.", "input": "In Latin.", "chosen": "Quercus.", "rejected": "Piscis."},
        [user("Name a tree.\nIn Latin.")],
        [("Quercus.", "Piscis.")],
    ),
    (
        "LLaMA-Factory, alpaca with a system and a history",
        {
            "instruction": "Another?",
            "input": "",
            "system": "Be brief.",
            "history": [["Name a tree.", "Oak."]],
            "chosen": "Elm.",
            "rejected": "Fish.",
        },
        [system("Be brief."), *TWO_TURNS],
        [("Elm.", "Fish.")],
    ),
    (
        "LLaMA-Factory, both in output",
        {"instruction": "Name a tree.", "input": "", "output": ["Oak.", "Fish."]},
        ASK,
        None,
    ),
    (
        "LLaMA-Factory, sharegpt",
        {
            "conversations": [human("Name a tree."), gpt("Oak."), human("Another?")],
            "chosen": gpt("Elm."),
            "rejected": gpt("Fish."),
        },
        TWO_TURNS,
        [("Elm.", "Fish.")],
    ),
    (
        "LLaMA-Factory, sharegpt with responses as text",
        {"conversations": [{"from": "system", "value": "Be brief."}, human("Name a tree.")], **TEXTS},
        [system("Be brief."), *ASK],
        None,
    ),
    (
        "LLaMA-Factory, sharegpt with a tool",
        {
            "conversations": [
                human("Name a tree."),
                {"from": "function_call", "value": "look()"},
                {"from": "observation", "value": "oak"},
            ],
            "chosen": gpt("Oak."),
            "rejected": gpt("Fish."),
        },
        [*ASK, assistant("look()"), {"role": "tool", "content": "oak"}],
        None,
    ),
    (
        "Chatbot Arena",
        {
            "conversation_a": [*ASK, assistant("Fish.")],
            "conversation_b": [*ASK, assistant("Oak.")],
            "winner": "model_b",
            "turn": 1,
        },
        ASK,
        None,
    ),
    (
        "Chatbot Arena (140k), parts",
        {
            "conversation_a": [
                {"role": "user", "content": [{"type": "text", "text": "Name a tree.", "image": None}]},
                {"role": "assistant", "content": [{"type": "text", "text": "Oak."}]},
            ],
            "conversation_b": [*ASK, assistant("Fish.")],
            "winner": "model_a",
        },
        ASK,
        None,
    ),
    (
        "Chatbot Arena (100k), JSON texts",
        {
            "conversation_a": json.dumps([*ASK, assistant("Oak.")]),
            "conversation_b": json.dumps([*ASK, assistant("Fish.")]),
            "winner": "model_a",
        },
        ASK,
        None,
    ),
    (
        "Chatbot Arena (55k)",
        {
            "prompt": '["Name a tree."]',
            "response_a": '["Fish."]',
            "response_b": '["Oak."]',
            "winner_model_a": 0,
            "winner_model_b": 1,
            "winner_tie": 0,
        },
        ASK,
        None,
    ),
    (
        "WSDM Cup",
        {"prompt": "Name a tree.", "response_a": "Oak.", "response_b": "Fish.", "winner": "model_a"},
        ASK,
        None,
    ),
    (
        "RM-Bench, one domain",
        {
            "id": 1,
            "prompt": "Name a tree.",
            "chosen": ["Oak.", "An oak.", "*Oak*"],
            "rejected": ["Fish.", "A fish.", "*Fish*"],
        },
        ASK,
        [(a, b) for a in ("Oak.", "An oak.", "*Oak*") for b in ("Fish.", "A fish.", "*Fish*")],
    ),
    (
        "HelpSteer2",
        {"prompt": "Name a tree.", "response_1": "Oak.", "response_2": "Fish.", "preference_strength": -2},
        ASK,
        None,
    ),
    (
        "HelpSteer3",
        {"context": TWO_TURNS, "response1": "Fish.", "response2": "Elm.", "overall_preference": 1},
        TWO_TURNS,
        [("Elm.", "Fish.")],
    ),
    (
        "Nectar",
        {
            "prompt": "\n\nHuman: Name a tree.\n\nAssistant: ",
            "answers": [
                {"answer": "Oak.", "rank": 2.0, "model": "m"},
                {"answer": "Fish.", "rank": 3.0, "model": "n"},
                {"answer": "An oak.", "rank": 1.0, "model": "o"},
            ],
        },
        ASK,
        [("An oak.", "Oak."), ("An oak.", "Fish."), ("Oak.", "Fish.")],
    ),
    (
        "summarize_from_feedback",
        {
            "info": {"id": "t3", "post": "A long post.", "article": None, "title": "T"},
            "summaries": [{"text": "Fish.", "policy": "p"}, {"text": "Post.", "policy": "q"}],
            "choice": 1,
        },
        [user("A long post.")],
        [("Post.", "Fish.")],
    ),
    (
        "WebGPT",
        {
            "question": {"dataset": "d", "full_text": "Name a tree."},
            "answer_0": "Oak.",
            "answer_1": "Fish.",
            "score_0": 0.5,
            "score_1": -0.5,
        },
        ASK,
        None,
    ),
    (
        "JudgeBench",
        {"question": "Name a tree.", "response_A": "Fish.", "response_B": "Oak.", "label": "B>A"},
        ASK,
        None,
    ),
    ("RewardBench", {"prompt": "Name a tree.", **TEXTS, "subset": "s", "id": 3}, ASK, None),
    (
        "RewardBench 2",
        {"prompt": "Name a tree.", "chosen": ["Oak."], "rejected": ["Fish.", "Cow."]},
        ASK,
        [("Oak.", "Fish."), ("Oak.", "Cow.")],
    ),
    ("Orca pairs", {"system": "Be brief.", "question": "Name a tree.", **TEXTS}, [system("Be brief."), *ASK], None),
    ("an empty system prompt", {"system": "", "question": "Name a tree.", **TEXTS}, ASK, None),
    ("Argilla", {"instruction": "Name a tree.", "chosen_response": "Oak.", "rejected_response": "Fish."}, ASK, None),
    ("StackExchange paired", {"question": "Name a tree.", "response_j": "Oak.", "response_k": "Fish."}, ASK, None),
    (
        "AlpacaFarm",
        {"instruction": "Name a tree.", "input": "", "output_1": "Fish.", "output_2": "Oak.", "preference": 2},
        ASK,
        None,
    ),
    (
        "OpenAI",
        {
            "input": {"messages": ASK, "tools": [], "parallel_tool_calls": True},
            "preferred_output": [assistant("Oak.")],
            "non_preferred_output": [assistant("Fish.")],
        },
        ASK,
        None,
    ),
    ("ms-swift", {"messages": [*ASK, assistant("Oak.")], "rejected_response": "Fish."}, ASK, None),
    (
        "ms-swift, messages",
        {"messages": [*ASK, assistant("Oak.")], "rejected_messages": [*ASK, assistant("Fish.")]},
        ASK,
        None,
    ),
    ("UltraInteract", {"task": "t", "trajectory": [{"from": "user", "value": "Name a tree."}], **TEXTS}, ASK, None),
    ("Skywork", {**WHOLE, "source": "s"}, ASK, None),
    ("orpo-dpo-mix", {"source": "s", "prompt": "Name a tree.", "question": "Something else?", **WHOLE}, ASK, None),
    (
        "responses and scores",
        {"prompt": "Name a tree.", "responses": ["Fish.", "Oak."], "scores": [0.1, 0.9]},
        ASK,
        None,
    ),
    ("query", {"query": "Name a tree.", **TEXTS}, ASK, None),
    (
        "distilabel",
        {"instruction": "Name a tree.", "generations": ["Fish.", None, "Oak."], "ratings": [1, 2, 5]},
        ASK,
        None,
    ),
    (
        "Nectar as features of a Sequence",
        {"prompt": "Name a tree.", "answers": {"answer": ["Fish.", "Oak."], "rank": [2, 1]}},
        ASK,
        None,
    ),
    (
        "HelpSteer2, turns",
        {
            "prompt": "Name a tree.\n<extra_id_1>Assistant\nOak.\n<extra_id_1>User\nAnother?",
            "response_1": "Elm.",
            "response_2": "Fish.",
            "preference_strength": -1,
        },
        TWO_TURNS,
        [("Elm.", "Fish.")],
    ),
    (
        "LangChain",
        {
            "conversations": [{"role": "human", "content": "Name a tree."}],
            "chosen": {"role": "ai", "content": "Oak."},
            "rejected": {"role": "ai", "content": "Fish."},
        },
        ASK,
        None,
    ),
    (
        "responses with a rank each",
        {"prompt": "Name a tree.", "responses": [{"text": "Fish.", "rank": 2}, {"text": "Oak.", "rank": 1}]},
        ASK,
        None,
    ),
    ("ranks beside responses", {"prompt": "Name a tree.", "responses": ["Fish.", "Oak."], "ranks": [2, 1]}, ASK, None),
    (
        "MT-Bench's first turn",
        {
            "conversation_a": [*ASK, assistant("Fish."), user("Another?"), assistant("Cow.")],
            "conversation_b": [*ASK, assistant("Oak."), user("Another?"), assistant("Elm.")],
            "winner": "model_b",
            "turn": 1,
        },
        ASK,
        None,
    ),
]
