"""Layouts of multiple choice."""

from layout_rows import ASKED, CHOICE, HALF, PARTS, SUM, Layout, ask

CHOSEN = {
    "AQuA-RAT": Layout(
        [{"question": SUM, "options": ["A)4", "B)5", "C)6"], "rationale": "Count.", "correct": "B"}], **CHOICE
    ),
    "MMLU": Layout(
        [
            {"question": SUM, "subject": "algebra", "choices": PARTS, "answer": 1},
            {"question": HALF, "subject": "algebra", "choices": ["0.5", "2"], "answer": 0},
        ],
        [ASKED, ask(HALF, "0.5", "2")],
        [("B",), ("A",)],
        said="positions that are counted from 0",
    ),
    "MMLU-Pro": Layout(
        [
            {
                "question_id": 1,
                "question": SUM,
                "options": PARTS,
                "answer": "B",
                "answer_index": 1,
                "cot_content": "",
                "category": "math",
            }
        ],
        **CHOICE,
    ),
    "ARC": Layout(
        [
            {"id": "a", "question": SUM, "choices": {"text": PARTS, "label": ["A", "B", "C"]}, "answerKey": "B"},
            {"id": "b", "question": HALF, "choices": {"text": ["2", "0.5"], "label": ["1", "2"]}, "answerKey": "2"},
        ],
        [ASKED, ask(HALF, "2", "0.5")],
        [("B",), ("B",)],
    ),
    "CommonsenseQA": Layout(
        [
            {
                "id": "a",
                "question": SUM,
                "question_concept": "sum",
                "choices": {"label": ["A", "B", "C"], "text": PARTS},
                "answerKey": "B",
            }
        ],
        **CHOICE,
    ),
    "CommonsenseQA, first release": Layout(
        [
            {
                "answerKey": "B",
                "id": "a",
                "question": {
                    "stem": SUM,
                    "choices": [{"label": "A", "text": "4"}, {"label": "B", "text": "5"}, {"label": "C", "text": "6"}],
                },
            }
        ],
        **CHOICE,
        refused="column 'question' must hold text or numbers, not dict.*--problem_column question.stem",
        flags={"problem_column": "question.stem", "choices_column": "question.choices"},
    ),
    "OpenBookQA": Layout(
        [
            {
                "id": "a",
                "question_stem": SUM,
                "choices": {"text": PARTS, "label": ["A", "B", "C"]},
                "answerKey": "B",
                "fact1": "f",
            }
        ],
        **CHOICE,
    ),
    "GPQA": Layout(
        [
            {
                "Question": SUM,
                "Correct Answer": "5",
                "Incorrect Answer 1": "4",
                "Incorrect Answer 2": "6",
                "Incorrect Answer 3": "7",
                "Explanation": "Count.",
            }
        ],
        [ask(SUM, "4", "7", "6", "5")],
        [("D",)],
        said="order that depends on the question's text",
    ),
    "SciQ": Layout(
        [
            {
                "question": SUM,
                "distractor3": "7",
                "distractor1": "4",
                "distractor2": "6",
                "correct_answer": "5",
                "support": "s",
            }
        ],
        [ask(SUM, "4", "7", "6", "5")],
        [("D",)],
    ),
    "MathQA": Layout(
        [
            {
                "Problem": SUM,
                "Rationale": "Count.",
                "options": "a ) 4 , b ) 5 , c ) 6",
                "correct": "b",
                "category": "gain",
            }
        ],
        **CHOICE,
    ),
    "MedQA": Layout(
        [{"question": SUM, "options": {"A": "4", "B": "5", "C": "6"}, "answer": "5", "answer_idx": "B"}], **CHOICE
    ),
    "MedMCQA": Layout(
        [{"id": "a", "question": SUM, "opa": "4", "opb": "5", "opc": "6", "opd": "7", "cop": 1}],
        [ask(SUM, "4", "5", "6", "7")],
        [("B",)],
    ),
    "C-Eval": Layout(
        [{"id": 0, "question": SUM, "A": "4", "B": "5", "C": "6", "D": "7", "answer": "B", "explanation": ""}],
        [ask(SUM, "4", "5", "6", "7")],
        [("B",)],
    ),
    "WinoGrande-like columns": Layout(
        [{"question": "Who ran?", "option1": "Ann", "option2": "Bo", "answer": "2"}],
        [ask("Who ran?", "Ann", "Bo")],
        [("B",)],
    ),
    "option_a columns": Layout(
        [{"question": SUM, "option_a": "4", "option_b": "5", "option_c": None, "answer": "b"}],
        [ask(SUM, "4", "5")],
        [("B",)],
    ),
    "RACE": Layout(
        [{"article": "Ann ran.", "question": "Who ran?", "options": ["Ann", "Bo"], "answer": "A"}],
        [ask("Ann ran.\n\nWho ran?", "Ann", "Bo")],
        [("A",)],
    ),
    "AGIEval": Layout(
        [{"query": f"{SUM} Choose: (A)4 (B)5 (C)6", "choices": ["(A)4", "(B)5", "(C)6"], "gold": [1]}],
        [f"{SUM} Choose: (A)4 (B)5 (C)6"],
        [("B",)],
    ),
    "SuperGPQA": Layout(
        [{"question": SUM, "options": ["four", "five"], "answer": "five", "answer_letter": "B"}],
        [ask(SUM, "four", "five")],
        [("B",)],
    ),
    "TabMWP": Layout(
        [
            {"question": SUM, "choices": None, "answer": "5", "unit": None},
            {"question": "Which?", "choices": ["a", "b"], "answer": "b", "unit": None},
        ],
        [SUM, ask("Which?", "a", "b")],
        [("5",), ("B",)],
    ),
    "counted from 1": Layout(
        [{"question": SUM, "choices": PARTS, "answer": 2}, {"question": "6?", "choices": PARTS, "answer": 3}],
        [ASKED, ask("6?", *PARTS)],
        [("B",), ("C",)],
        said="positions that are counted from 1",
    ),
    "HellaSwag": Layout(
        [
            {
                "ind": 1,
                "activity_label": "Running",
                "ctx_a": "Ann",
                "ctx_b": "runs",
                "ctx": "Ann runs",
                "endings": ["home.", "away."],
                "label": "1",
            }
        ],
        [ask("Ann runs", "home.", "away.")],
        [("B",)],
        refused="neither a column of prompts .* nor one of problems.*--problem_column",
        flags={"problem_column": "ctx", "choices_column": "endings"},
    ),
    "choices that are numbers": Layout(
        [{"question": SUM, "choices": ["0", "1", "2"], "answer": 1}],
        [ask(SUM, "0", "1", "2")],
        [("B",)],
    ),
    "choices that are numbers, in two ways": Layout(
        [{"question": SUM, "choices": ["1", "2", "3"], "answer": 1}],
        [ask(SUM, "1", "2", "3")],
        [("A",)],
        refused="can be read in two ways.*--answer_kind index or --answer_kind text",
        flags={"answer_kind": "text"},
    ),
}
