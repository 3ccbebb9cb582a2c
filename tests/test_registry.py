import pytest

import da_toolkit.methods  # noqa: F401 - registers
from da_toolkit.errors import UserError, unknown_name
from da_toolkit.methods import Method
from da_toolkit.registry import DOMAINS, METHODS, MODELS, Registry


def test_the_foundation_is_registered():
    assert {"source_only", "oracle", "target_bn", "adaptseg", "feature_adversarial"} <= set(METHODS.names())
    assert set(DOMAINS.names()) >= {"GTA5", "Synthia", "Cityscapes", "CamVid", "Carla", "Folder", "Streets"}
    assert set(MODELS.names()) >= {"DeepLabV2", "LightDeepLabV3Plus"}
    assert METHODS.names("adaptseg*") == ["adaptseg", "adaptseg_ls", "adaptseg_multi"]
    assert METHODS.names(family="baseline") == ["oracle", "source_only", "target_bn"]


def test_entries_build_settings_and_know_what_they_do():
    for entry in METHODS:
        assert isinstance(entry.build(), Method)
        assert entry.summary.endswith((".", "method.")) or ":" in entry.summary


def test_unknown_names_list_all_and_the_nearest():
    with pytest.raises(UserError, match=r"Unknown method 'adaptsg'. Did you mean 'adaptseg'\? Valid names: adaptseg, "):
        METHODS["adaptsg"]
    assert "Did you mean" not in str(unknown_name("thing", "zzzz", ["apple"]))


def test_double_and_undocumented_registrations_are_refused():
    registry = Registry("thing")

    def documented():
        """Does it."""

    registry.register()(documented)
    with pytest.raises(ValueError, match="twice"):
        registry.register()(documented)
    with pytest.raises(ValueError, match="no docstring"):
        registry.register("other")(lambda: None)
