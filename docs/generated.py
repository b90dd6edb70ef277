"""What `make docs` makes from the source: a hook of MkDocs, which mkdocs.yml names.

The pages of commands and of functions are made from their declarations and docstrings,
those of notebooks from docs/*.ipynb with their stored outputs. Formulas become MathML,
which browsers draw without a script.
"""

import html
import re
import tomllib
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

import mlp_xp
from mlp_xp import estimator, parity
from mlp_xp.commands import COMMANDS
from mlp_xp.commands.options import make_app

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = (mlp_xp, parity, estimator)
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"][
    "Repository"
]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Link to the repository."""
    config.extra["social"] = [{"icon": "fontawesome/brands/github", "link": SOURCE}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "commands.md", content=commands()))
    files.append(File.generated(config, "functions.md", content=functions()))
    for path in sorted((ROOT / "docs").glob("*.ipynb")):
        text, resources = MarkdownExporter().from_notebook_node(
            nbformat.read(path, as_version=4)
        )
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def commands() -> str:
    """Return the page of all commands, which cyclopts makes of their declarations."""
    text: str = make_app(COMMANDS).generate_docs(
        output_format="markdown", recursive=True, heading_level=1
    )
    text = text[text.index("**Commands**") :]
    text = re.sub(
        r"(```.*?```|`[^`]*`)|(--[a-z][a-z0-9-]*)",
        lambda m: m[1] or f"`{m[2]}`",
        text,
        flags=re.DOTALL,
    )
    shown = f"$ mlp-xp --version\nmlp-xp {mlp_xp.__version__}"
    return f"# Every command\n\n```console\n{shown}\n```\n\n{text}"


def functions() -> str:
    """Return the page of all public names, functions first.

    mkdocstrings makes their documentation.
    """
    names = []
    for module in PUBLIC:
        own = sorted(module.__all__, key=lambda name: (name[0].isupper(), name))
        names += [f"{module.__name__}.{name}" for name in own]
    rule = "\n\n".join(mlp_xp.__doc__.split("\n\n")[1:])
    shape = mlp_xp.load_dataset("mnist").train.inputs.shape
    shown = f'print(load_dataset("mnist").train.inputs.shape)  # {shape}'
    shown = f"from mlp_xp import load_dataset\n\n{shown}"
    top = f"# Every function\n\n```python\n{shown}\n```\n\n{rule}\n\n"
    return top + "\n".join(f"::: {name}\n" for name in names)


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Let links to notebooks lead to their pages, and links out of docs/ to GitHub."""
    if page.file.src_uri.startswith("notebooks/"):
        markdown = re.sub(r"\]\((\w+\.md)", r"](../\1", markdown)
        markdown = re.sub(r"\]\((\w+)\.ipynb", r"](\1.md", markdown)
    markdown = re.sub(r"\]\((\w+)\.ipynb", r"](notebooks/\1.md", markdown)
    return re.sub(r"\]\((?:\.\./)+(?!\w+\.md)", f"]({SOURCE}/blob/main/", markdown)


def on_page_content(
    html_text: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Make MathML of formulas, with a space after log and tanh.

    Short code is marked, so that it is not broken.
    """

    def mathml(found: re.Match[str]) -> str:
        formula = re.sub(r"\\(log|tanh) ", r"\\\1\\, ", html.unescape(found[3]))
        return (
            found[1]
            + convert(formula, display="block" if found[2] == "[" else "inline")
            + found[4]
        )

    marked = (
        r'(<(?:span|div) class="arithmatex">)\\([(\[])(.*?)\\[)\]](</(?:span|div)>)'
    )
    html_text = re.sub(
        r"<code>(?=[^<]{1,30}</code>)", '<code class="short">', html_text
    )
    return re.sub(marked, mathml, html_text, flags=re.DOTALL)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Mark the Chinese pages as such.

    Browsers choose the shapes of characters by the language.
    """
    return (
        output.replace('<html lang="en"', '<html lang="zh-Hans"', 1)
        if ".zh." in page.file.src_uri
        else output
    )
