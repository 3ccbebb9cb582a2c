"""CONTRIBUTING.md and the issue templates name things that exist."""

import re
from pathlib import Path

import pytest

from da_toolkit import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "docs/own_data.md", ROOT / "docs/data.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert links and [link for link in links if not (page.parent / link).exists()] == []


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
