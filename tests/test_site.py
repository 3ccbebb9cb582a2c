"""What docs/hooks.py adds to mkdocs; `make check` builds the whole site, strictly."""

import importlib.util
import re
import types
from pathlib import Path
from xml.etree import ElementTree

import pytest
from method_formulas import told

from da_toolkit.catalogue import listed

pytest.importorskip("mkdocs")
pytest.importorskip("latex2mathml")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks_of_the_site", ROOT / "docs/hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config():
    from mkdocs.config import load_config

    return load_config(str(ROOT / "mkdocs.yml"))


def page(place):
    return types.SimpleNamespace(file=types.SimpleNamespace(src_uri=place))


@pytest.mark.parametrize(
    ("place", "written", "expected"),
    [
        ("recipes.md", "[b](../benchmarks/README.md#which)", "[b](benchmarks.md#which)"),
        ("methods/dacs.md", "[p](../parity.md)", "[p](../parity.md)"),
        ("methods/dacs.md", "[c](../../CONTRIBUTING.md)", "[c](../contributing.md)"),
        ("benchmarks.md", "[d](../docs/data.md) [m](../docs/methods/dacs.md)", "[d](data.md) [m](methods/dacs.md)"),
        ("contributing.md", "[a](docs/architecture.md#rooms)", "[a](architecture.md#rooms)"),
        ("rpt.md", "![p](rpt/rpt.png) [t](#whole) [w](https://example.org/a.md)", None),
        ("data.md", "[r](../recipes/adaptseg_gta.py)", None),
    ],
)
def test_links_of_the_checkout_lead_to_the_sites_pages(hooks, place, written, expected):
    assert hooks.on_page_markdown(written, page(place)) == (expected or written)


def test_every_drawing_of_the_benchmarks_page_is_on_the_site(hooks, config):
    from mkdocs.structure.files import Files

    config.plugins._current_plugin = "hooks"  # as it is while mkdocs asks them
    found = hooks.on_files(Files([]), config).src_uris
    shown = re.findall(r"!\[[^]]*\]\((\S+\.svg)\)", (ROOT / "benchmarks/README.md").read_text())
    assert "benchmarks.md" in found and len(shown) >= 4 and set(shown) <= set(found)


def test_every_formula_becomes_mathml_without_latex_left(hooks):
    notation, every = told()
    for name, text in {"notation": notation, **{name: method.formula for name, method in every.items()}}.items():
        for display, inline in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, re.DOTALL):
            opened, tag = (r"\[", "div") if display else (r"\(", "span")
            formula = f"{opened}{display or inline}{opened.translate({ord('['): ']', ord('('): ')'})}"
            made = hooks.on_page_content(f'<{tag} class="arithmatex">{formula}</{tag}>')
            assert "\\" not in made, (name, made)
            root = ElementTree.fromstring(made)
            assert root.tag.endswith("math") and root.get("display") == ("block" if display else "inline")


def test_a_chain_of_boxes_becomes_a_list_and_other_diagrams_are_refused(hooks):
    def shown(text):
        return hooks.on_page_content(f'<pre class="mermaid"><code>{text}</code></pre>')

    chain = 'flowchart TD\n    a["&lt;b&gt;A&lt;/b&gt; first"]\n    b["B"]\n    a --&gt; b\n'
    assert shown(chain) == '<ol class="floors"><li><b>A</b> first</li><li>B</li></ol>'
    with pytest.raises(ValueError, match="one chain of boxes"):
        shown(chain.replace('"B"]', '"B"]\n    c["C"]'))


def test_the_api_reference_has_what_packages_offer(hooks):
    import da_toolkit.methods

    text = hooks.on_page_markdown("<!-- all of da_toolkit.methods but Method Term -->", page("api.md"))
    names = {line.rpartition(".")[2] for line in text.split("\n\n")}
    assert names == set(da_toolkit.methods.__all__) - {"METHODS", "Method", "Term"}


def test_the_site_asks_no_other_machine_and_is_strict(config):
    assert config.theme["font"] is False and not config.extra_javascript and not config.repo_url
    assert {"privacy", "social"}.isdisjoint(name.rpartition("/")[2] for name in config.plugins)
    levels = {**config.validation.links, **config.validation.nav}
    assert {levels[name] for name in ("not_found", "anchors", "absolute_links", "omitted_files")} == {30}  # WARNING


def test_every_page_and_every_method_is_in_the_navigation(hooks, config):
    def places(part):
        if isinstance(part, str):
            return [part]
        return [place for each in (part.values() if isinstance(part, dict) else part) for place in places(each)]

    found = places(hooks.on_config(config).nav)
    pages = {str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md")}
    assert len(found) == len(set(found)) and set(found) == pages | set(hooks.OUTSIDE.values())
    assert {f"methods/{entry.name}.md" for entry in listed("method")} <= set(found)
