"""A collapse is told once, when it has lasted, with something to try."""

import math

import pytest

from da_toolkit.methods import Adversarial, SourceOnly
from da_toolkit.methods.adversarial import OutputSpace
from da_toolkit.runs import health
from da_toolkit.runs.health import Health
from da_toolkit.runs.runtime import Runtime
from da_toolkit.runs.session import Session


def told(losses, decisions, terms=(), steps=range(10, 110, 10)):
    health = Health(total=1000)
    return [warning for step in steps for warning in health.see(step, losses, decisions, terms)]


def test_one_class_on_nearly_all_target_pixels_is_told_once():
    found = told({}, {"road": 97.0, "sky": 3.0})
    assert len(found) == 1 and "since step 10, over 95 % of target pixels are decided as 'road'" in found[0]
    assert told({}, {"road": 90.0, "sky": 10.0}) == []
    assert told({}, {}) == []


def test_what_passes_is_not_told():
    health = Health(total=1000)
    for step in range(10, 1000, 10):
        decisions = {"road": 97.0 if step % 50 else 50.0}
        assert health.see(step, {}, decisions, ()) == []


def test_the_first_steps_are_too_early_to_tell():
    health = Health(total=60)
    assert [step for step in range(10, 70, 10) if health.see(step, {}, {"road": 99.0}, ())] == [60]


def test_two_reports_far_apart_are_not_enough():
    assert told({}, {"road": 99.0}, steps=(100, 900)) == []
    assert len(told({}, {"road": 99.0}, steps=(100, 500, 900))) == 1


@pytest.mark.parametrize("objective, chance", [("bce", math.log(2)), ("least_squares", 0.25)])
def test_discriminators_at_zero_or_at_chance(tiny_trainer, objective, chance):
    trainer = tiny_trainer(Adversarial(discriminators=(OutputSpace(objective=objective),)))
    assert "near 0" in told({"disc_output_main": 1e-4}, {}, trainer.terms)[0]
    assert "at chance" in told({"disc_output_main": chance + 1e-4}, {}, trainer.terms)[0]
    assert told({"disc_output_main": 0.7 * chance}, {}, trainer.terms) == []
    assert told({"seg": 0.0}, {}, trainer.terms) == []


def test_a_resumed_run_does_not_tell_again():
    health = Health(total=100)
    for step in (5, 40, 60):
        due = health.see(step, {}, {"road": 99.0}, ())
    assert due
    resumed = Health(total=100)
    resumed.load_state(health.state())
    assert resumed.see(80, {}, {"road": 99.0}, ()) == []


def test_a_run_counts_the_targets_decisions_and_warns(tmp_path, tiny_recipe, monkeypatch, capsys):
    from da_toolkit.training.meter import Decisions

    runtime = Runtime(runs=tmp_path, workers=0, tracking="none", log_every=1)
    read = Decisions.read
    seen = []

    def collapsed(self):
        seen.append(read(self))
        return {"road": 100.0}

    monkeypatch.setattr(Decisions, "read", collapsed)
    monkeypatch.setattr(health, "LEAST", 1)
    Session("t", tiny_recipe(Adversarial(), steps=4), runtime).run()
    assert all(sum(shares.values()) == pytest.approx(100) for shares in seen) and len(seen) == 4
    assert "warning: since step 1, over 95 %" in capsys.readouterr().out
    seen.clear()
    Session("s", tiny_recipe(SourceOnly(), steps=4), runtime).run()
    assert seen == [{}] * 4  # nothing looks at the target
