"""The reward lens from the command line, and its page in a real browser."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from limits import LIMIT
from tiny_models import tiny_model, tiny_tokenizer

from rewards import EndoRM
from rewards.lens import COLORS, LensResponse, lens_page
from scripts import load_script
from train.tasks.rehearsal_model import make_rehearsal_model

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)"
)
FLAGS = [
    "--headless",
    "--disable-gpu",
    "--no-sandbox",  # a container has no user namespaces to build one with
    "--no-first-run",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nor does the browser itself reach anybody
    "--allow-file-access-from-files",
]
SETTINGS = {"alpha": 0.8, "discount": 0.9, "floor": 0.3, "terminal": "zero"}
HOSTILE = "'\"><script>document.title='owned'</script><img src=http://127.0.0.1:9/x>"
RESPONSES = ["4, that is 日本 🙂\n\tsure </style></span> " + HOSTILE, "It is 5 & no more."]
# Reads the page through a frame: the page itself stays as it is, its policy included.
READER = """<iframe id="page" src="lens.html" width="1200" height="900"></iframe><pre id="read"></pre><script>
addEventListener("load", () => {
  const frame = document.getElementById("page"), page = frame.contentDocument;
  const style = frame.contentWindow.getComputedStyle;
  const all = (root, what) => [...root.querySelectorAll(what)];
  const articles = all(page, "article").map(article => ({
    tokens: all(article, ".token").map(token => {
      token.focus();
      const tip = style(token, "::after");
      return {...token.dataset, text: token.textContent, colour: style(token).backgroundColor, ink: style(token).color,
              tip: JSON.parse(tip.content), tipPosition: tip.position};
    }),
    points: [...article.querySelector("polyline.own").points].map(p => [p.x, p.y]),
    low: article.querySelector("svg").dataset.low, high: article.querySelector("svg").dataset.high}));
  const scripts = all(page, "script, img, link").length, tip = style(all(page, ".token")[0], "::after").content;
  const read = {title: page.title, prompt: page.getElementById("prompt").textContent, articles, scripts, tip};
  document.getElementById("read").textContent = JSON.stringify(read);
});
</script>"""


@pytest.fixture(scope="module")
def script():
    module = load_script("lens")
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A byte-level model (so that 日 is three tokens) whose logits differ by nats, as a trained model's do."""
    folder = tmp_path_factory.mktemp("model")
    made = make_rehearsal_model(["It is four."], folder, vocab_size=270, hidden_size=32, layers=1)
    with torch.no_grad():
        made.lm_head.weight.mul_(20)
    made.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=["log_prob", "reward"])
def color(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def page(script, model, color, tmp_path_factory):
    """A page written by the command line with a hostile prompt and response, compared and discounted."""
    path = tmp_path_factory.mktemp("page") / "lens.html"
    (path.parent / "a.txt").write_text(RESPONSES[0], encoding="utf-8")
    flags = [x for name, value in SETTINGS.items() for x in (f"--{name}", str(value))]
    texts = ["--prompt", f"2+2? {HOSTILE}", "--response", f"@{path.parent / 'a.txt'}", "--compare", RESPONSES[1]]
    script.main(["--model", model, *texts, *flags, "--chat", "--color", color, "--output", str(path)])
    return path


def browse(path, folder, *flags) -> tuple[str, list[str]]:
    """The DOM of the file at `path` as Chromium has it after loading, and what its network log holds on behalf of
    files: requests, connections and look-ups of names. The browser's own errands are left out."""
    log = folder / "net.json"
    flags = [*FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom"]
    command = [CHROMIUM, *flags, path.as_uri()]
    dom = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=LIMIT, check=True).stdout
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    keys = "network_isolation_key", "network_anonymization_key"
    return dom, [str(params) for params in events if any("file://" in params.get(key, "") for key in keys)]


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_the_rendered_page_shows_the_token_rewards(dark, color, page, model, tmp_path):
    (page.parent / "reader.html").write_text(READER, encoding="utf-8")
    dom, _ = browse(page.parent / "reader.html", tmp_path, f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    read = json.loads(html.unescape(re.search(r'<pre id="read">(.*?)</pre>', dom, re.DOTALL)[1]))
    rm = EndoRM.from_pretrained(model, device="cpu", **SETTINGS)
    prompt = [{"role": "user", "content": f"2+2? {HOSTILE}"}]
    rewards = [r.numpy() for r in rm.token_rewards([prompt] * 2, RESPONSES)]
    totals = rm.score([prompt] * 2, RESPONSES)
    assert len(read["articles"]) == 2
    assert HOSTILE in read["prompt"]
    assert read["scripts"] == 0

    logprob = EndoRM.from_pretrained(model, device="cpu", **{**SETTINGS, "form": "logprob", "alpha": 1.0})
    log_probs = [r.numpy() for r in logprob.token_rewards([prompt] * 2, RESPONSES)]
    shown = rewards if color == "reward" else log_probs
    both = np.concatenate(rewards)
    assert min(both) < 0 < max(both)
    limit = np.quantile(np.abs(both), 0.95) if color == "reward" else max(5, -min(np.concatenate(log_probs)))
    # as in the style sheet: what a reward of zero and rewards beyond the limit look like
    middle, below, above = ("161616", "9c4f00", "1d64a6") if dark else ("ffffff", "f5a04e", "6cb0ee")
    middle, below, above = (np.array([*bytes.fromhex(colour)]) / 255 for colour in (middle, below, above))
    for article, values, coloured, total in zip(read["articles"], rewards, shown, totals):
        tokens = article["tokens"]
        assert len(tokens) == len(values)
        np.testing.assert_allclose([float(t["reward"]) for t in tokens], values, atol=1e-4)
        running = np.cumsum([max(0.9**h, 0.3) * r for h, r in enumerate(values)])
        np.testing.assert_allclose([float(t["sum"]) for t in tokens], running, rtol=1e-4, atol=1e-4)
        assert float(tokens[-1]["sum"]) == pytest.approx(total, abs=1e-4)
        share = np.minimum(np.abs(coloured) / limit, 1)[:, None]
        expected = middle + share * (np.where(coloured[:, None] > 0, above, below) - middle)
        rendered = [[float(x) for x in re.findall(r"[\d.]+(?:e-\d+)?", t["colour"])][:3] for t in tokens]
        np.testing.assert_allclose(rendered, expected, atol=2e-3)
        assert min(contrast(t["ink"], colour) for t, colour in zip(tokens, rendered)) > 4.5
        low, high = float(article["low"]), float(article["high"])
        heights = [high - (high - low) * y / 150 for _, y in article["points"]]
        np.testing.assert_allclose(heights, [0, *running], atol=(high - low) / 150 * 0.02)
        for h, token in enumerate(tokens):  # the numbers that keyboard focus brings up
            assert token["tip"].startswith(f"token {h}: ")
            assert f"id {token['id']} · reward {values[h]:.3f} · weight {max(0.9**h, 0.3):.3f} · " in token["tip"]
            assert token["tipPosition"] == "fixed"
    assert read["tip"] == "none"  # and which go with the focus
    texts = [t["text"] for t in read["articles"][0]["tokens"]]
    assert "".join(texts).replace("⋯", "") == RESPONSES[0].replace("\n", "⏎\n").replace("\t", "⇥\t") + "<|im_end|>"
    assert texts[texts.index("日") - 2 : texts.index("日")] == ["⋯", "⋯"]


def contrast(ink: str, background: list[float]) -> float:
    """WCAG 2 contrast ratio of a computed text colour to a background of three sRGB parts in 0..1."""

    def luminance(parts) -> float:
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    pair = luminance([int(x) / 255 for x in re.findall(r"\d+", ink)[:3]]), luminance(background)
    return (max(pair) + 0.05) / (min(pair) + 0.05)


@pytest.mark.browser
@needs_chromium
def test_nothing_on_the_page_runs_and_no_request_leaves_it(page, tmp_path):
    """Escaping and policy are two walls: each of them holds alone."""
    text = page.read_text(encoding="utf-8")
    columns = [[1.0, 2.0]] * 6
    whole = lens_page(HOSTILE, [LensResponse([7, 8], [HOSTILE, "x"], *columns)], {"model": HOSTILE})
    policy = re.compile(r"<meta http-equiv=[^>]*>")
    pages = {
        "page": text,
        "no policy": policy.sub("", text),
        "one token, no policy": policy.sub("", whole),
        "not escaped": text.replace("<main>", f"{HOSTILE}<main>"),
        "neither": policy.sub("", text).replace("<main>", f"{HOSTILE}<main>"),
    }
    assert len(set(pages.values())) == len(pages)
    for name, content in pages.items():
        path = tmp_path / "opened.html"
        path.write_text(content, encoding="utf-8")
        dom, requests = browse(path, tmp_path)
        title = re.search("<title>(.*?)</title>", dom)[1]
        if name == "neither":
            assert title == "owned"
            assert any("127.0.0.1:9" in request for request in requests)
        else:
            assert (name, title, requests) == (name, "Reward lens", [])


def test_both_responses_take_one_forward(script, model, tmp_path, monkeypatch):
    made = []
    load = EndoRM.from_pretrained

    def from_pretrained(*args, **kwargs):
        made.append(load(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(EndoRM, "from_pretrained", from_pretrained)
    output = tmp_path / "new" / "lens.html"
    texts = ["--prompt", "a", "--response", "b", "--compare", "cd", "--system_prompt", "Be kind."]
    script.main(["--model", model, *texts, "--output", str(output)])
    assert made[0].base.forwards == 1
    text = output.read_text(encoding="utf-8")
    assert "Be kind.⏎\n⏎\na</div>" in text
    assert "system_prompt <b>Be kind.</b>" in text
    assert text.count("<article") == 2


@pytest.mark.parametrize("color", [None, *COLORS])
def test_the_page_says_what_its_colours_show(color, script, model, tmp_path):
    output = tmp_path / "lens.html"
    flags = [] if color is None else ["--color", color]
    texts = ["--prompt", "a", "--response", "b", "--compare", "c"]
    script.main(["--model", model, *texts, *flags, "--output", str(output)])
    text = output.read_text(encoding="utf-8")
    color = color or "log_prob"
    assert f'<p id="shown">{COLORS[color][1]}</p>' in text
    assert f'data-color="{color}"' in text


def test_a_file_is_read_as_it_stands(script, tmp_path):
    path = tmp_path / "text"
    path.write_bytes("né\r\n\n".encode())
    assert script.text_or_file(f"@{path}") == "né\r\n\n"
    assert script.text_or_file("a@b") == "a@b"


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"--response": ""}, "--response: the text is empty"),
        ({"--compare": ""}, "--compare: the text is empty"),
        ({"--response": "@missing.txt"}, "--response: no file 'missing.txt'.*begins with @"),
        ({"--response": "@latin1"}, "not UTF-8.*iconv"),
        ({"--response": "\udcff"}, "not UTF-8"),
        ({"--response": "ab" * 40}, r"have 1 \+ 81 tokens, the model has 64 positions: shorten --prompt"),
        ({"--compare": "ab" * 40}, r"1 \+ 81 tokens"),
        ({"--alpha": "0"}, "alpha must be positive"),
        ({"--color": "difference"}, "give the other one with --compare"),
        ({"--color": "blue"}, "invalid choice: 'blue'"),
        ({"--discount": "2"}, "discount and floor must lie in"),
        ({"--chat_template_kwargs": "no"}, "chat_template_kwargs is not JSON"),
        ({"--model": "./missing"}, "missing"),
        ({"--chat": None}, "no chat template"),
    ],
)
def test_bad_input_names_the_fix(changes, message, script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin1").write_bytes("é".encode("latin-1"))
    tiny_model().save_pretrained("model")
    tiny_tokenizer(chat_template=None).save_pretrained("model")
    arguments = {"--model": "model", "--prompt": "a", "--response": "b"} | changes
    with pytest.raises(SystemExit) as stop:
        script.main([x for pair in arguments.items() for x in pair if x is not None])
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "lens.html").exists()
