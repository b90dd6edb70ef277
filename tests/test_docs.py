"""The notebooks and pages of the documentation are right.

Their code runs and gives the shown output. Commands and links in them are right.
"""

import ast
import base64
import json
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import pytest
from nbformat import NotebookNode
from notebooks import (
    DOCS,
    NOTEBOOKS,
    WITHOUT_OUTPUTS,
    clean,
    differences,
    execute,
    read,
    same_text,
    without_outputs,
)

from mlp_xp import TrainConfig, load_dataset, open_backend, train
from mlp_xp.commands.options import make_app

MOST_BYTES = 300_000  # of a notebook's pictures

# The lesson has tests of its own, too: test_lesson.py.
LESSON = [path for path in NOTEBOOKS if path.parent.name == "lesson"]
# Its outputs are messages of libraries.
HARDWARE = [path for path in LESSON if path.stem.startswith("other_hardware")]
# test_lesson.py executes these.
NOT_COMPARED = HARDWARE + WITHOUT_OUTPUTS


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[path.stem for path in paths])


each_notebook = each(NOTEBOOKS)


@pytest.mark.slow
@each([path for path in NOTEBOOKS if path not in NOT_COMPARED])
def test_a_notebook_gives_its_stored_outputs(path: Path, tmp_path: Path) -> None:
    stored = read(path)
    different = [*differences(stored, execute(stored, tmp_path))]
    assert not different, "\n".join(
        [*different, "if that is right, run: make notebooks"]
    )


@each(WITHOUT_OUTPUTS)
def test_outputs_that_tell_too_much_are_not_stored(path: Path) -> None:
    assert read(path) == without_outputs(clean(read(path)))


@each([path for path in NOTEBOOKS if path not in WITHOUT_OUTPUTS])
def test_a_notebook_is_stored_without_its_machine(path: Path) -> None:
    stored = read(path)
    assert stored == clean(stored), "written by Jupyter; run: make notebooks"
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    shown = [output for cell in cells for output in cell.outputs]
    pictures = [each.data.pop("image/png") for each in shown if has_picture(each)]
    assert pictures or path in LESSON
    assert sum(len(base64.b64decode(each)) for each in pictures) <= MOST_BYTES
    assert not re.search(r"/(home|root|tmp|Users|work)/|ipykernel|\x1b", str(shown))


@each_notebook
def test_a_notebook_fails_in_one_cell_on_purpose(path: Path) -> None:
    failed = [
        cell.metadata.get("tags")
        for cell in code_cells(path)
        if any(output.output_type == "error" for output in cell.outputs)
    ]
    assert failed == ([] if path in LESSON else [["raises-exception"]])


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def has_picture(output: NotebookNode) -> bool:
    return "image/png" in output.get("data", {})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("accuracy 0.9651", "accuracy 0.9648", True),
        ("accuracy 0.9651", "accuracy 0.8651", False),
        ("accuracy 0.97", "recall 0.97", False),
        ("(3, 10)", "(3, 11)", False),
        ("5e-10", "6e-10", True),
        ("5e-10", "7e-10", False),
        ("7.4e-15", "7.4e-12", False),
        ("1.5", "1.5 2.5", False),
    ],
)
def test_texts_are_compared_to_a_few_digits(one: str, other: str, same: bool) -> None:
    assert same_text(one, other) is same_text(other, one) is same


def test_numbers_that_depend_on_the_machine_are_not_compared() -> None:
    one, other = "in 3.2 s, largest 1e-15", "in 0.45 s, largest 2.4e-14"
    assert same_text(one, other, numbers=False)


# The pages: README.md, docs/ and others. Notebooks are pages, too.

ROOT = Path(__file__).resolve().parent.parent
NAMES = [
    "README.md",
    "README.zh-CN.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "packages/array-lockstep/README.md",
    "packages/array-lockstep/README.zh-CN.md",
    "packages/array-lockstep/CHANGELOG.md",
    *sorted(str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md")),
    *sorted(str(path.relative_to(ROOT)) for path in DOCS.glob("*.ipynb")),
]
TRANSLATIONS = [name for name in NAMES if ".zh" in name]
BLOCK = re.compile(
    r"^```(\w*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
NUMBER = r"\d+(?:\.\d+)?"
# Pages whose Python is not executed here, and why.
ELSEWHERE = {
    "docs/export.md": "tests/export/test_onnx.py executes it",
    "docs/lesson/solutions.md": "tests/test_lesson.py executes it",
    "docs/parity.md": "tests/parity/test_testing.py executes it",
    "docs/sweeps.md": "it needs SLURM",
    **dict.fromkeys(TRANSLATIONS, "it equals that of the English page"),
}
TRAINED_ON_TORCH = ("README.md", "docs/index.md")
SHORT = {"epochs": 1, "batch_size": 5000, "report_every": 60000}


def text_of(name: str) -> str:
    """Return the text of a page. In a notebook, each cell of code is a block."""
    path = ROOT / name
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    blocks = []
    for cell in read(path).cells:
        source = cell.pop("source")
        if cell.cell_type == "code":
            source = f"```ipython\n{source}\n```"
        blocks += [source, f"```json\n{json.dumps(cell)}\n```\n"]
    return "\n\n".join(blocks)


@pytest.mark.parametrize(
    "name", [*NAMES, *(str(path.relative_to(ROOT)) for path in LESSON)]
)
def test_links_lead_somewhere(name: str):
    prose = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text_of(name)))
    for word, link in re.findall(r"(\w*)\]\(([^)\s]+)\)", prose):
        if link.startswith(("http://", "https://")):
            continue
        page, _, anchor = link.partition("#")
        target = (ROOT / name).parent / page if page else ROOT / name
        assert target.exists(), link
        if ".zh" in name and word != "English":
            translation = target.with_name(f"{target.stem}.zh{target.suffix}")
            assert not translation.exists(), f"{link} is translated"
        if anchor:
            headings = re.findall(r"^#+ (.*)", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), link


def slug(heading: str) -> str:
    """Return the anchor of a heading, on GitHub and on the site."""
    words = re.sub(r"[^\w\s-]", "", re.sub(r"\]\(.*?\)", "", heading))
    return words.strip().lower().replace(" ", "-")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TRANSLATIONS])
def test_commands_are_understood(name: str):
    """The command line takes every call of `mlp-xp` or a script in a block."""
    for language, block, _ in BLOCK.findall(text_of(name)):
        if language not in ("", "sh", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\$ )?(?:mlp-xp|python scripts/(\w+)\.py) (.*)", line)
            if not found or found[1] in ("bench", "libraries"):
                continue
            script, rest = found.groups()
            words = shlex.shlex(rest, posix=True, punctuation_chars=True)
            words.whitespace_split = True
            command = [*takewhile(lambda word: not set(word) <= set("<>|&;"), words)]
            parse([script, *command] if script else command)


def parse(words: list[str]) -> None:
    """Read a command line, without the common options."""
    common = ("--debug", "--no-compile-cache")
    make_app(words[:1]).parse_args([word for word in words if word not in common])


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_a_translation_has_the_same_code_and_figures(name: str) -> None:
    """Part by part: the code but its comments, and the facts of the prose.

    Facts are numbers, names, formulas and links, in any order.
    """
    english = [*map(facts, parts(text_of(re.sub(r"\.zh(-CN)?", "", name))))]
    translated = [*map(facts, parts(text_of(name)))]
    assert len(translated) == len(english)
    pairs = enumerate(zip(english, translated, strict=True))
    assert [(i, *pair) for i, pair in pairs if pair[0] != pair[1]] == []


def parts(text: str) -> list[str]:
    """Return blocks of code, paragraphs and cells of tables."""
    found = []
    for piece in re.split(r"^(```.*?^```)$", text, flags=re.MULTILINE | re.DOTALL):
        if piece.startswith("```"):
            found.append(piece)
        else:
            found += re.split(r"\n\n| \| |\n[|-]", piece)
    return found


def facts(part: str) -> list[str]:
    """Return the facts for a translation to repeat."""
    if part.startswith("```"):
        return re.sub(
            r"(?<=\s)# .*", lambda found: " ".join(re.findall(NUMBER, found[0])), part
        ).splitlines()
    part = re.sub(r"\\text\{.*?\}|\.zh(-CN)?(?=\.(md|ipynb))", "", part)
    # an anchor is a translated heading
    part = re.sub(r"(?<=\.md|.\]\()#[^)\s]*", "#", part)
    return sorted(
        re.findall(rf"`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\(\S*?\)|{NUMBER}", part)
    )


@each([path for path in NOTEBOOKS if ".zh" in path.name])
def test_a_translated_notebook_has_the_same_code_and_figures(path: Path) -> None:
    """Comments and messages in the code may differ."""
    english = read(path.with_name(path.name.replace(".zh", ""))).cells
    translated = read(path).cells
    for cell, other in zip(english, translated, strict=True):
        assert (cell.id, cell.cell_type) == (other.id, other.cell_type)
        if cell.cell_type == "markdown":
            assert facts(other.source) == facts(cell.source)
        else:
            assert without_messages(other.source) == without_messages(cell.source)


class Messages(ast.NodeTransformer):
    """Replaces sentences, with their values in any order, as translations have them.

    The name of the language is replaced, too.
    """

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        is_sentence = isinstance(node.value, str) and (
            node.value in ("en", "zh") or " " in node.value or not node.value.isascii()
        )
        return ast.Constant("sentence") if is_sentence else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Constant:
        values = [part for part in node.values if isinstance(part, ast.FormattedValue)]
        return ast.Constant(sorted(map(ast.unparse, values)))


def without_messages(code: str) -> str:
    """Return code without comments, sentences and the layout of its lines."""
    return ast.unparse(Messages().visit(ast.parse(re.sub(r"^%%.*\n", "", code))))


@pytest.fixture
def strict_as_installed() -> Iterator[None]:
    """Code of readers runs with the flags that array-api-strict has by itself."""
    if not find_spec("array_api_strict"):
        yield
        return
    import array_api_strict

    flags = array_api_strict.get_array_api_strict_flags()
    array_api_strict.reset_array_api_strict_flags()
    yield
    array_api_strict.set_array_api_strict_flags(**flags)


@pytest.mark.slow
@pytest.mark.usefixtures("strict_as_installed")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[pytest.mark.needs("torch")] if name in TRAINED_ON_TORCH else [],
        )
        for name in NAMES
        if name not in ELSEWHERE and "```python" in text_of(name)
    ],
)
def test_code_runs_and_prints_what_it_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures, capsys
) -> None:
    """In a folder with a short run, as `make train` writes it."""
    monkeypatch.chdir(tmp_path)
    text = text_of(name)
    if "load_run(latest)" in text:
        config = TrainConfig(**SHORT, hidden=(8,), warm_up_steps=0)
        run_dir = "runs/mnist-notebook-numpy-20261126-034049"
        assert [*train(config, load_dataset(), open_backend(), run_dir=run_dir)]
    for language, block, shown in BLOCK.findall(text):
        if language == "python":
            if "def program():" in block:  # "Save it as `my_module.py`"
                (tmp_path / "my_module.py").write_text(block, "utf-8")
                monkeypatch.syspath_prepend(tmp_path)
            code = block.replace("TrainConfig()", f"TrainConfig(**{SHORT})")
            exec(compile(code, name, "exec"), {"__name__": "__main__"})
            printed = capsys.readouterr().out
            assert not shown or same_text(printed, shown)
