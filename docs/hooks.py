"""What mkdocs does besides: pages from outside docs/, methods in the navigation, formulas without JavaScript."""

import ast
import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

from da_toolkit.catalogue import KINDS, listed

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the checkout that are pages too, and where."""
DRAWINGS = "benchmarks/results"
_LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)]*)?(\))")
_ALL = re.compile(r"<!-- all of ([\w.]+) but ([\w ]*)-->")
_MATH = re.compile(r'<(div|span) class="arithmatex">\\([\[(])(.*?)\\[\])]</\1>', re.DOTALL)
_DIAGRAM = re.compile(r'<pre class="mermaid"><code>(.*?)</code></pre>', re.DOTALL)


def on_config(config: Any) -> Any:
    """The methods join the navigation, by family."""
    families: dict[str, list[dict[str, str]]] = {}
    for entry in listed("method"):
        families.setdefault(entry.family, []).append({entry.name: f"methods/{entry.name}.md"})
    section = next(part["Methods"] for part in config.nav if "Methods" in part)
    section += [{family: pages} for family, pages in families.items()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Pages of the files in `OUTSIDE`, and drawings of results, beside the benchmarks' page as in the checkout."""
    drawn = {f"{DRAWINGS}/{file.name}": f"results/{file.name}" for file in (ROOT / DRAWINGS).glob("*.svg")}
    for place, page in (OUTSIDE | drawn).items():
        files.append(File.generated(config, page, content=(ROOT / place).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as they are right in the checkout become right on the site; others are left for mkdocs to refuse."""
    here = next((place for place, name in OUTSIDE.items() if name == page.file.src_uri), f"docs/{page.file.src_uri}")

    def moved(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(posixpath.dirname(here), link[2]))
        new = OUTSIDE.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else None)
        if new is None:
            return link[0]
        return f"{link[1]}{posixpath.relpath(new, posixpath.dirname(page.file.src_uri) or '.')}{link[3] or ''}{link[4]}"

    return _LINK.sub(moved, _ALL.sub(_documented, markdown))


def _documented(found: re.Match[str]) -> str:
    """The classes and functions of a package's `__all__`, but some, for mkdocstrings."""
    module = ast.parse((ROOT / found[1].replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    offered = next(node.value for node in module.body if isinstance(node, ast.Assign))  # __all__, and no other
    names = sorted(set(ast.literal_eval(offered)) - set(found[2].split()) - set(KINDS))
    return "\n\n".join(f"::: {found[1]}.{name}" for name in names)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML, which browsers show by themselves; a chain of a diagram's boxes as a list."""

    def formula(found: re.Match[str]) -> str:
        return convert(html.unescape(found[3]).strip(), display="block" if found[2] == "[" else "inline")

    return _DIAGRAM.sub(_boxes, _MATH.sub(formula, content))


def _boxes(found: re.Match[str]) -> str:
    """A flowchart whose boxes form one chain, as an ordered list; others would need mermaid's program."""
    source = html.unescape(found[1])
    boxes = dict(re.findall(r'^\s*(\w+)\["(.*)"\]$', source, re.MULTILINE))
    chain = re.findall(r"\w+", source.strip().splitlines()[-1])
    if set(chain) != set(boxes):
        raise ValueError("docs/hooks.py shows diagrams that are one chain of boxes, each with its text on a line")
    return '<ol class="floors">' + "".join(f"<li>{boxes[name]}</li>" for name in chain) + "</ol>"
