"""What is listed without running it is what is registered, word for word."""

import pytest

import da_toolkit.data
import da_toolkit.methods
import da_toolkit.models
import da_toolkit.regularizers  # noqa: F401 - importing registers
from da_toolkit.catalogue import KINDS, list_methods, listed, listed_recipes, recipe_files
from da_toolkit.recipe import load_recipe
from da_toolkit.registry import DOMAINS, METHODS, MODELS, REGULARIZERS


@pytest.mark.parametrize("registry", [METHODS, REGULARIZERS, MODELS, DOMAINS], ids=lambda registry: registry.kind)
def test_a_kind_is_listed_as_it_is_registered(registry):
    parts = ("name", "summary", "family", "paper", "use", "missing", "recipe")
    known = [[getattr(entry, part) for part in parts] for entry in registry]
    found = [[getattr(entry, part) for part in parts] for entry in listed(registry.kind)]
    assert found == known and len(found) >= 3


def test_every_registry_is_listed():
    assert set(KINDS.values()) == {registry.kind for registry in (METHODS, REGULARIZERS, MODELS, DOMAINS)}


def test_recipes_are_listed_with_what_they_report():
    recipes = listed_recipes()
    assert [recipe.name for recipe in recipes] == list(recipe_files())
    for recipe in recipes:
        reported = load_recipe(recipe.path).reported
        assert recipe.reported == (f"{reported.miou} ({reported.paper})" if reported else "")
        assert recipe.summary == recipe.path.read_text().splitlines()[0].strip('"')


def test_names_are_chosen_by_pattern_and_family():
    assert list_methods("adv*") == ["advent", "advent_multi"]
    assert "cbst" in list_methods(family="self-training") and "minent" not in list_methods(family="self-training")
