"""Layouts of collections of mathematics: a problem and its answer, or a worked solution."""

from layout_rows import BOX, HALF, ONE, PAIR, SUM, Layout, user

WORKED = {
    "MATH": Layout(
        [
            {"problem": SUM, "level": "Level 1", "type": "Algebra", "solution": BOX},
            {"problem": HALF, "level": "Level 2", "type": "Algebra", "solution": r"It is $\boxed{\frac{1}{2}}$."},
        ],
        **PAIR,
    ),
    "MATH-500": Layout(
        [{"problem": SUM, "solution": BOX, "answer": "5", "subject": "Algebra", "level": 1, "unique_id": "a/1"}], **ONE
    ),
    "GSM8K": Layout(
        [
            {"question": SUM, "answer": "Two and three make <<2+3=5>>5.\n#### 5"},
            {"question": "b?", "answer": "x\n#### 1,072"},
        ],
        [SUM, "b?"],
        [("5",), ("1,072",)],
    ),
    "SVAMP": Layout(
        [
            {
                "ID": "c-1",
                "Body": "Ann has 2 pens. She gets 3.",
                "Question": "How many now?",
                "Equation": "( 2.0 + 3.0 )",
                "Answer": 5.0,
            },
            {"ID": "c-2", "Body": "Bo has 8.", "Question": "And half?", "Equation": "( 8.0 / 2.0 )", "Answer": 4.0},
        ],
        ["Ann has 2 pens. She gets 3. How many now?", "Bo has 8. And half?"],
        [("5",), ("4",)],
        said="2 numbers in column Answer are written without their .0",
    ),
    "ASDiv": Layout(
        [
            {
                "body": "Seven red apples and two green ones.",
                "question": "How many apples?",
                "solution_type": "Addition",
                "answer": "9 (apples)",
                "formula": "7+2=9",
            }
        ],
        ["Seven red apples and two green ones. How many apples?"],
        [("9",)],
        said="units in brackets are left out of 1 answers",
    ),
    "MAWPS": Layout(
        [
            {
                "Question": "Sam had N_00 dimes and got N_01 .",
                "Numbers": "9 7",
                "Equation": "+ N_00 N_01",
                "Answer": 16.0,
            }
        ],
        ["Sam had 9 dimes and got 7 ."],
        [("16",)],
        said="filled in from column Numbers",
    ),
    "AIME 2024": Layout([{"ID": "2024-I-1", "Problem": SUM, "Solution": BOX, "Answer": 5}], **ONE),
    "AIME 1983-2024": Layout(
        [{"ID": "1983-1", "Year": 1983, "Problem Number": 1, "Question": SUM, "Answer": "5", "Part": None}], **ONE
    ),
    "AIME 2025": Layout([{"problem": SUM, "answer": "5", "id": "0"}], **ONE),
    "AMC 23": Layout([{"id": 0, "question": SUM, "answer": "5.0", "url": "https://a.b"}], [SUM], [("5.0",)]),
    "AIMO validation AMC": Layout(
        [{"id": 0, "problem": SUM, "answer": 5.0, "url": "https://a.b"}], **ONE, said=r"without their \.0"
    ),
    "Minerva": Layout(
        [{"question": "Give the energy.", "answer": r"$8.7 \times 10^{8}$"}],
        ["Give the energy."],
        [(r"8.7 \times 10^{8}",)],
    ),
    "OlympiadBench": Layout(
        [
            {
                "id": 1,
                "question": "Solve $x^2 = 1$.",
                "solution": ["Two roots.", "Or so."],
                "final_answer": ["$1$,$-1$"],
                "context": None,
                "image_1": None,
                "is_multiple_answer": True,
                "unit": None,
                "answer_type": "Numerical",
            },
            {
                "id": 2,
                "question": "How fast?",
                "solution": ["By force."],
                "final_answer": ["3"],
                "context": "A ball falls.",
                "image_1": {"bytes": "x"},
                "is_multiple_answer": False,
                "unit": "m/s",
                "answer_type": "Numerical",
            },
        ],
        ["Solve $x^2 = 1$.", "A ball falls.\n\nHow fast?"],
        [("1,-1",), ("3",)],
        said=r"column image_1 is not shown to the model \(1 rows",
    ),
    "NuminaMath-CoT": Layout(
        [
            {
                "source": "s",
                "problem": SUM,
                "solution": BOX,
                "messages": [*user(SUM), {"role": "assistant", "content": BOX}],
            }
        ],
        **ONE,
    ),
    "NuminaMath-1.5": Layout(
        [
            {
                "problem": SUM,
                "solution": BOX,
                "answer": "5",
                "problem_type": "Algebra",
                "question_type": "math-word-problem",
                "problem_is_valid": "Yes",
                "source": "s",
                "synthetic": False,
            },
            {
                "problem": "Prove it.",
                "solution": "Clear.",
                "answer": "proof",
                "problem_type": "Algebra",
                "question_type": "proof",
                "problem_is_valid": "Yes",
                "source": "s",
                "synthetic": False,
            },
            {
                "problem": HALF,
                "solution": r"\boxed{\frac{1}{2}}",
                "answer": "notfound",
                "problem_type": "Algebra",
                "question_type": "math-word-problem",
                "problem_is_valid": "Yes",
                "source": "s",
                "synthetic": False,
            },
        ],
        **PAIR,
        said='2 answers in column answer that say "proof" or "notfound" are taken for none',
    ),
    "OpenR1-Math": Layout(
        [
            {
                "problem": SUM,
                "solution": BOX,
                "answer": "5",
                "uuid": "u",
                "is_reasoning_complete": [True, False],
                "generations": ["a", "b"],
                "messages": [*user(SUM), {"role": "assistant", "content": "a"}],
            }
        ],
        **ONE,
    ),
    "DeepScaleR": Layout([{"problem": SUM, "answer": "5", "solution": "Count."}], **ONE),
    "Big-Math": Layout(
        [{"problem": SUM, "answer": "5", "source": "orca_math", "domain": ["Arithmetic"], "llama8b_solve_rate": 0.9}],
        **ONE,
    ),
    "Omni-MATH": Layout(
        [
            {
                "domain": ["Algebra"],
                "difficulty": 4.0,
                "problem": SUM,
                "solution": "Count.",
                "answer": "5",
                "source": "s",
            }
        ],
        **ONE,
    ),
    "Polaris": Layout([{"difficulty": "5/8", "problem": SUM, "answer": "5"}], **ONE),
    "LIMO": Layout([{"question": SUM, "solution": BOX, "answer": "5"}], **ONE),
    "AceReason-Math": Layout([{"problem": SUM, "answer": "5"}], **ONE),
    "OpenMathInstruct-2": Layout(
        [{"problem": SUM, "generated_solution": r"\boxed{6}", "expected_answer": "5", "problem_source": "math"}], **ONE
    ),
    "OpenMathInstruct-1": Layout(
        [
            {
                "question": SUM,
                "expected_answer": "5",
                "predicted_answer": "6",
                "generated_solution": r"\boxed{6}",
                "is_correct": False,
            }
        ],
        **ONE,
    ),
    "WebInstruct-verified": Layout(
        [
            {
                "id": 1,
                "question": SUM,
                "answer": "5",
                "answer_type": "Integer",
                "category": "Math",
                "difficulty": "Primary",
            }
        ],
        **ONE,
    ),
    "TheoremQA": Layout(
        [
            {"Question": SUM, "Answer": "5", "Answer_type": "integer", "Picture": None},
            {"Question": "Is it odd?", "Answer": "True", "Answer_type": "bool", "Picture": None},
        ],
        [SUM, "Is it odd?"],
        [("5",), ("True",)],
    ),
    "MGSM": Layout([{"question": SUM, "answer": None, "answer_number": 5, "equation_solution": None}], **ONE),
    "GSM-Hard": Layout([{"input": SUM, "code": "def solution(): return 5.5", "target": 5.5}], [SUM], [("5.5",)]),
    "BIG-Bench Hard": Layout([{"input": SUM, "target": "5"}], **ONE),
    "s1K": Layout(
        [
            {"solution": r"so \boxed{5}", "question": SUM, "cot_type": "math", "cot": None},
            {"solution": "128", "question": HALF, "cot_type": "math", "cot": None},
        ],
        **ONE,
    ),
    "s1K, answers alone": Layout(
        [{"solution": "5", "question": SUM, "cot_type": "math"}],
        **ONE,
        said="1 answers are the whole of column solution",
    ),
    "MetaMathQA": Layout(
        [
            {
                "type": "GSM_Rephrased",
                "query": SUM,
                "original_question": "2 + 3?",
                "response": "We add.\n#### 5\nThe answer is: 5",
            }
        ],
        **ONE,
        unanswered="--answer_column response",
        flags={"answer_column": "response"},
    ),
    "Orca-Math": Layout(
        [
            {
                "question": SUM,
                "answer": "We begin with two pens on the desk. Three are added to them. That makes five pens now.",
            }
        ],
        [SUM],
        [],
        refused="column answer holds explanations and not final answers in 1 of 1 rows",
        flags={"answer_column": ""},
    ),
}
