"""Programs judged by their tests: right and wrong ones, where a program is found in a response, forms of tests."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rewards import get_reward
from rewards.sandbox.bubblewrap import Outcome
from rewards.unit_tests import UnitTest, UnitTests, last_block, read_tests, same_output

sandboxed = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed: apt-get install bubblewrap"
)
TASKS = {  # right programs, wrong programs, tests
    "square": (
        ["def square(x):\n    return x * x", "square = lambda x: x ** 2", "def square(x):\n    return sum([x] * x)"],
        ["def square(x):\n    return 2 * x", "def square(x):\n    print(x * x)", "def sqare(x):\n    return x * x"],
        ["assert square(3) == 9", "assert square(0) == 0"],
    ),
    "reversal": (
        ["print(input()[::-1])", "import sys\nprint(''.join(reversed(sys.stdin.readline().strip())))"],
        ["print(input())", "input()", "print(input()[::-1]); raise SystemExit(1)", "print('cba')"],
        [{"input": "abc\n", "output": "cba\n"}, {"input": "x y", "output": "y x"}],
    ),
    "sum": (
        ["n = int(input())\nprint(sum(int(input()) for _ in range(n)))"],
        ["print(6)", "n = int(input())\nprint(n)", "while True: pass"],
        {"inputs": ["3\n1\n2\n3\n", "1\n5"], "outputs": ["6", "5\n\n"]},
    ),
    "words": (
        ["from collections import Counter\ndef most(t):\n    return Counter(t.split()).most_common(1)[0][0]"],
        ["def most(t):\n    return t.split()[0]", "def most(t)\n    return 1", "def most(t):\n    return None"],
        "def check(f):\n    assert f('b a a') == 'a'\n\ncheck(most)\n",
    ),
    "main": (
        ["def f():\n    return 1\nif __name__ == '__main__':\n    input()"],
        [
            "import sys\nsys.exit(0)",
            "import os\nos._exit(0)",
            "raise SystemExit",
            "import os\nos.close(4)\nos._exit(0)",
        ],
        json.dumps(["assert f() == 1"]),
    ),
    "printing": (
        ["import sys\nsys.stdout.write('1 \\n2')", "if __name__ == '__main__':\n    print('1\\n2\\n')"],
        ["print('1 2')", "print('2\\n1')", "print('1\\n2\\n3')"],
        [{"input": [], "output": ["1", "2"]}],
    ),
}


@pytest.fixture(scope="module")
def reward():
    return UnitTests(seconds=1, score="all")


@sandboxed
@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_right_programs_pass_and_wrong_ones_do_not(task, reward):
    right, wrong, tests = TASKS[task]
    responses = [f"So:\n```python\n{program}\n```\nThat is it." for program in [*right, *wrong]]
    values = reward(completions=responses, tests=[tests] * len(responses))
    assert values == [1.0] * len(right) + [0.0] * len(wrong)


def test_there_are_over_forty_tries_of_programs():
    tests = {task: len(read_tests(of_it[2])) for task, of_it in TASKS.items()}
    assert sum((len(right) + len(wrong)) * tests[task] for task, (right, wrong, _) in TASKS.items()) >= 40


@sandboxed
def test_the_share_of_tests_that_pass():
    found = {}
    share = UnitTests()
    response = "```\ndef f(x):\n    return abs(x)\n```"
    tests = ["assert f(1) == 1", "assert f(-1) == -1", "assert f(0) == 0", "f(None)"]
    assert share(completions=[response], tests=[tests], log_extra=found.__setitem__) == [0.5]
    assert found == {"unit_tests": ["2 of 4"]}
    assert share(completions=[response, "no program"], tests=[[], tests]) == [None, 0.0]
    chat = [[{"role": "assistant", "content": response}]]
    assert share(completions=chat, tests=[["assert f(2) == 2"]], completion_ids=[[1]]) == [1.0]


@pytest.mark.parametrize(
    "text, block",
    [
        ("```python\na\n```", "a\n"),
        ("```\na\n```\nthen\n```py\nb\nc\n```\n", "b\nc\n"),
        ("```a\n```", ""),
        ("~~~\n```\n~~~", "```\n"),
        ("````\n```\n````", "```\n"),
        ("  ```\n  a\n  ```", "  a\n"),
        ("no program", None),
        ("```\na", None),
        ("```\na\n```\n```\nb was cut o", None),  # the last block counts, and it never closes
        ("`a` and ``b``", None),
    ],
)
def test_the_last_closed_block_is_the_program(text, block):
    assert last_block(text) == block


def test_forms_of_tests():
    pair, code = UnitTest(None, "1\n", "2"), UnitTest("assert True")
    assert read_tests([{"input": "1\n", "output": "2"}, "assert True"]) == [pair, code]
    assert read_tests({"inputs": ["1\n"], "outputs": ["2"]}) == [pair]
    assert read_tests(json.dumps({"inputs": ["1\n"], "outputs": ["2"]})) == [pair]
    assert read_tests("assert True") == read_tests('"assert True"') == read_tests(["assert True"]) == [code]
    assert read_tests(None) == read_tests([]) == read_tests(" ") == []


@pytest.mark.parametrize("tests", [{"inputs": ["1"], "outputs": []}, {"in": 1}, [{"input": "1"}], [3], "3", 7])
def test_other_forms_are_refused(tests):
    with pytest.raises(ValueError, match="test"):
        read_tests(tests)


@pytest.mark.parametrize(
    "printed, same", [("1\n2\n", True), ("1 \n2\n\n\n", True), ("1\r\n2", True), ("12", False), ("1\n2\n3", False)]
)
def test_outputs_are_compared_line_by_line(printed, same):
    assert same_output(printed, "1\n2") == same


def test_without_bubblewrap_nothing_runs(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="apt-get install bubblewrap"):
        UnitTests()
    with pytest.raises(ValueError, match="share or all"):
        UnitTests(score="some")


def test_the_column_is_named_where_it_is_missing():
    reward = UnitTests(runner="http://localhost:1/")
    with pytest.raises(ValueError, match="needs the column 'tests'"):
        reward(completions=["x"])
    with pytest.raises(RuntimeError, match="http://localhost:1/ gave no verdict"):
        reward(completions=["```\nx\n```"], tests=[["assert x"]])
    assert get_reward("unit_tests") is UnitTests


def test_a_runner_elsewhere_is_asked_for_each_test():
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = {"passed": "return" in asked[-1]["program"], "output": "2\n"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        reward = UnitTests(runner=f"http://localhost:{server.server_port}/", workers=1)
        tests = ["assert f() == 1", {"input": "1", "output": "2"}, {"input": "1", "output": "3"}]
        values = reward(completions=["```\nreturn\n```", "```\npass\n```"], tests=[tests, tests])
    finally:
        server.shutdown()
        server.server_close()
    assert values == [2 / 3, 0.0]
    assert asked[0] == {"program": "return\n", "test": "assert f() == 1", "stdin": ""}
    assert asked[1]["stdin"] == "1"
    assert Outcome(True, "x") == Outcome(passed=True, output="x")
