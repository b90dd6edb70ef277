"""Notebooks and the code in README.md and docs/ run and give what they show; commands
and links in them are right.
"""

import base64
import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest
from notebooks import NOTEBOOKS, clean, differences, execute, read, same_text

from mlp_xp import TrainConfig, load_dataset, open_backend, train
from mlp_xp.commands.options import make_app

MOST_BYTES = 300_000  # of a notebook's pictures

each_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS]
)


@pytest.mark.slow
@each_notebook
def test_a_notebook_gives_its_stored_outputs(path: Path, tmp_path: Path) -> None:
    stored = read(path)
    different = [*differences(stored, execute(stored, tmp_path))]
    assert not different, "\n".join(
        [*different, "if that is right, run: make notebooks"]
    )


@each_notebook
def test_a_notebook_is_stored_without_its_machine(path: Path) -> None:
    stored = read(path)
    assert stored == clean(stored), "written by Jupyter; run: make notebooks"
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    pictures = [
        output.data.pop("image/png")
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    assert pictures
    assert sum(len(base64.b64decode(picture)) for picture in pictures) <= MOST_BYTES
    assert not re.search(r"/(home|root|tmp|Users|work)/|ipykernel|\x1b", str(outputs))
    failed = [
        cell
        for cell in cells
        if any(output.output_type == "error" for output in cell.outputs)
    ]
    assert [cell.metadata.get("tags") for cell in failed] == [["raises-exception"]], (
        "on purpose"
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("accuracy 0.9651", "accuracy 0.9648", True),
        ("accuracy 0.9651", "accuracy 0.8651", False),
        ("accuracy 0.97", "recall 0.97", False),
        ("(3, 10)", "(3, 11)", False),
        ("7.4e-15", "7.4e-12", False),
        ("1.5", "1.5 2.5", False),
    ],
)
def test_texts_are_compared_to_a_few_digits(one: str, other: str, same: bool) -> None:
    assert same_text(one, other) is same_text(other, one) is same
    assert same_text(
        "in 3.2 s, largest 1e-15", "in 0.45 s, largest 2.4e-14", numbers=False
    )


# The pages: README.md, docs/ and others.

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "README.zh-CN.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "data/README.md",
    )
]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
BLOCK = re.compile(
    r"^```(\w*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
NUMBER = r"\d+(?:\.\d+)?"
# Pages whose Python is not executed here, and why.
ELSEWHERE = {
    "docs/export.md": "tests/export/test_onnx.py executes it",
    "docs/parity.md": "tests/parity/test_testing.py executes it",
    "docs/sweeps.md": "it needs SLURM",
    **dict.fromkeys(
        (name for name in NAMES if ".zh" in name), "it equals that of the English page"
    ),
}
SHORT = {"epochs": 1, "batch_size": 5000, "report_every": 60000}

each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def slug(heading: str) -> str:
    """The anchor of a heading, on GitHub and on the site."""
    return (
        re.sub(r"[^\w\s-]", "", re.sub(r"\]\(.*?\)", "", heading))
        .strip()
        .lower()
        .replace(" ", "-")
    )


@each_page
def test_links_lead_somewhere(page: Path):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), link
        assert not anchor or anchor in map(
            slug, re.findall(r"^#+ (.*)", target.read_text("utf-8"), re.MULTILINE)
        ), link


@each_page
def test_commands_are_understood(page: Path):
    """Every line of a block that calls `mlp-xp`, or a script, has options and values
    that the command line takes.
    """
    for language, block, _ in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language not in ("", "sh", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\$ )?(?:mlp-xp|python scripts/(\w+)\.py) (.*)", line)
            if not found or found[1] in ("bench", "libraries"):
                continue
            words = shlex.shlex(found[2], posix=True, punctuation_chars=True)
            words.whitespace_split = True
            command = [*takewhile(lambda word: not set(word) <= set("<>|&;"), words)]
            parse([found[1], *command] if found[1] else command)


@pytest.mark.parametrize("name", [name for name in NAMES if ".zh" in name])
def test_a_translation_has_the_same_code_and_figures(name: str) -> None:
    """Part by part: code except for its comments; of prose the numbers, names, formulas
    and links, in any order.
    """
    texts = [
        (ROOT / path).read_text("utf-8")
        for path in (re.sub(r"\.zh(-CN)?", "", name), name)
    ]
    english, chinese = ([*map(facts, parts(text))] for text in texts)
    assert len(chinese) == len(english)
    assert [
        (i, *pair)
        for i, pair in enumerate(zip(english, chinese, strict=True))
        if pair[0] != pair[1]
    ] == []


def parts(text: str) -> list[str]:
    """Blocks of code, paragraphs, cells of tables."""
    code = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
    pieces = enumerate(code.split(text))
    return [
        part
        for i, piece in pieces
        for part in ([piece] if i % 2 else re.split(r"\n\n| \| |\n[|-]", piece))
    ]


def facts(part: str) -> list[str]:
    if part.startswith("```"):
        return re.sub(
            r"(?<=\s)# .*", lambda found: " ".join(re.findall(NUMBER, found[0])), part
        ).splitlines()
    part = re.sub(r"\\text\{.*?\}|\.zh(-CN)?(?=\.md)", "", part)
    return sorted(
        re.findall(rf"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\(\S*?\)|{NUMBER}", part)
    )


def parse(words: list[str]) -> None:
    app = make_app(words[:1])
    app.parse_args(
        [word for word in words if word not in ("--debug", "--no-compile-cache")]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in NAMES
        if name not in ELSEWHERE and "```python" in (ROOT / name).read_text("utf-8")
    ],
)
def test_code_runs_and_prints_what_it_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """In the current folder, in which there is a short run as `make train` writes it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: None)
    text = (ROOT / name).read_text(encoding="utf-8")
    if "load_run(latest)" in text:
        config = TrainConfig(**SHORT, hidden=(8,), warm_up_steps=0)
        assert [
            *train(
                config,
                load_dataset(),
                open_backend(),
                run_dir="runs/mnist-notebook-numpy-20261126-034049",
            )
        ]
    for language, block, shown in BLOCK.findall(text):
        if language == "python":
            code = block.replace("TrainConfig()", f"TrainConfig(**{SHORT})")
            code = code.replace(
                "(epochs=1)", "(epochs=1, batch_size=10, learning_rate=0.1)"
            )
            exec(compile(code, name, "exec"), {"__name__": "__main__"})
            printed = capsys.readouterr().out
            assert not shown or same_text(printed, shown)
            for line in re.findall(r"^print.*  # (\[.*)$", block, re.MULTILINE):
                assert line in printed
