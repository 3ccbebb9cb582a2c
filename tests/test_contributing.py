"""CONTRIBUTING.md, the issue templates and the links of all pages name things that exist."""

import re
from pathlib import Path

import pytest

from da_toolkit import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", ROOT / "benchmarks/README.md", *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def broken_links(page):
    return [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]


def test_links_of_pages_lead_somewhere():
    assert {page.relative_to(ROOT): broken for page in PAGES if (broken := broken_links(page))} == {}


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("[a](page.md#top) [b](nowhere.md#top) ![c](gone.png) [d](https://example.org/x)")
    assert broken_links(page) == ["nowhere.md", "gone.png"]


def test_files_that_contributing_names_are_there():
    named = re.findall(
        r"`((?:da_toolkit|tests|recipes|docs|benchmarks)/[\w./]*)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert len(named) >= 8 and [name for name in named if not (ROOT / name).exists()] == []


def test_commands_that_templates_ask_for_are_commands():
    text = "".join(file.read_text() for file in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    asked = set(re.findall(r"da-toolkit (\w+)", text))
    assert asked and asked <= set(cli.COMMANDS)


@pytest.mark.parametrize("file", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda file: file.name)
def test_a_template_is_a_form_that_hosts_read(file):
    yaml = pytest.importorskip("yaml")
    form = yaml.safe_load(file.read_text())
    if file.name == "config.yml":
        assert form == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= set(form)
    fields = [field["id"] for field in form["body"]]
    assert len(fields) == len(set(fields)) and all(field["attributes"]["label"] for field in form["body"])
    assert {field["type"] for field in form["body"]} <= {"textarea", "input", "checkboxes", "dropdown", "markdown"}
