"""What `make docs` makes from the source: a hook of MkDocs, which mkdocs.yml names.

The pages of commands and of functions are made from their declarations and docstrings,
those of notebooks from docs/*.ipynb with their stored outputs. Formulas become MathML,
which browsers draw without a script. The Chinese pages, *.zh.md, have the navigation of
the English pages, with Chinese titles.
"""

import html
import os
import re
from itertools import pairwise
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Link, Navigation, Section
from mkdocs.structure.pages import Page
from mkdocs.utils.templates import TemplateContext
from nbconvert import MarkdownExporter

import array_lockstep
import mlp_xp
from mlp_xp import estimator, parity
from mlp_xp.commands import COMMANDS
from mlp_xp.commands.options import make_app

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = (mlp_xp, parity, estimator, array_lockstep)
LOCKSTEP = {
    "lockstep.md": "packages/array-lockstep/README.md",
    "lockstep.zh.md": "packages/array-lockstep/README.zh-CN.md",
}
"""Pages of docs/, and the files that the site shows there."""
# A workflow on GitHub sets these variables. Elsewhere, links lead to the files here.
REPOSITORY = ""
FILES = ROOT.as_uri()
if "GITHUB_REPOSITORY" in os.environ:
    REPOSITORY = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format_map(os.environ)
    FILES = f"{REPOSITORY}/blob/HEAD"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Link to the repository, if its address is known."""
    if REPOSITORY:
        config.extra["social"] = [
            {"icon": "fontawesome/brands/github", "link": REPOSITORY}
        ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "commands.md", content=commands()))
    files.append(File.generated(config, "functions.md", content=functions()))
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        text, resources = MarkdownExporter().from_notebook_node(
            nbformat.read(path, as_version=4), {"unique_key": path.stem}
        )
        folder = path.parent.relative_to(ROOT / "docs")
        for name, content in {f"{path.name}.md": text, **resources["outputs"]}.items():
            uri = (folder / name).as_posix()
            files.append(File.generated(config, uri, content=content))
    return files


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Make the navigation of the Chinese pages. Pages without translation are links."""
    titles, pages = config.extra["chinese_titles"], []

    def translated(item: Section | Page) -> Section | Page | Link:
        title = titles[item.title]
        if isinstance(item, Section):
            section = Section(title, [translated(child) for child in item.children])
            for child in section.children:
                child.parent = section
            return section
        twin = files.get_file_from_path(item.file.src_uri.replace(".", ".zh.", 1))
        if twin is None:
            return Link(f"{title}（英文）", item.url)
        twin.page.title = title
        pages.append(twin.page)
        return twin.page

    chinese = Navigation([translated(item) for item in nav.items], pages)
    chinese.homepage = pages[0]
    for page, following in pairwise(pages):
        page.next_page, following.previous_page = following, page
    config.extra["chinese_navigation"] = chinese
    return nav


def on_page_context(
    context: TemplateContext, page: Page, config: MkDocsConfig, nav: Navigation
) -> TemplateContext:
    """Choose navigation and words by the language, and link to the other language."""
    chinese = config.extra["chinese_navigation"]
    is_chinese = page in chinese.pages
    config.theme["language"] = "zh" if is_chinese else "en"
    if is_chinese:
        context["nav"] = chinese
    english_url = page.url.replace(".zh.", ".")
    urls = {each.url.replace(".zh.", "."): each.url for each in chinese.pages}
    chinese_url = urls.get(english_url, chinese.homepage.url)
    config.extra["alternate"] = [
        {"name": "English", "lang": "en", "link": english_url},
        {"name": "中文", "lang": "zh", "link": chinese_url},
    ]
    return context


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
    """Let links lead to the pages of notebooks, and to files of the repository.

    The page of array-lockstep is the README of this distribution.
    """
    if page.file.src_uri in LOCKSTEP:
        markdown = (ROOT / LOCKSTEP[page.file.src_uri]).read_text("utf-8")
        for uri, path in LOCKSTEP.items():
            markdown = markdown.replace(f"]({Path(path).name})", f"]({uri})")
    markdown = re.sub(r"(\]\([\w./]+\.ipynb)\)", r"\1.md)", markdown)
    out_of_docs = "../" * (1 + page.file.src_uri.count("/"))
    return markdown.replace(f"]({out_of_docs}", f"]({FILES}/")


def on_page_content(
    html_text: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Make MathML of formulas, with a space after log and tanh.

    Short code is marked, so that it is not broken. No line ends within a number or
    before its unit.
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
    html_text = re.sub(marked, mathml, html_text, flags=re.DOTALL)
    not_text = r"(<(pre|code|math)\b.*?</\2>|<[^>]*>)"
    in_number = r"(?<=\d) (?=\d{3}\b|(?:%|x|m?s|µs|[kMG]B)(?!\w))"
    return re.sub(
        f"{not_text}|{in_number}",
        lambda found: found[1] or "\N{NO-BREAK SPACE}",
        html_text,
        flags=re.DOTALL,
    )
