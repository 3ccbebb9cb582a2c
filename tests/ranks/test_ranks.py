"""Two ranks against one process: shared passes, exact scores, equal states, and resumption with another number."""

import copy
import os
from itertools import islice

import pytest
import torch
from ranks import two_ranks

from da_toolkit.data.rare_classes import RareClasses
from da_toolkit.data.sampling import EpochSampler
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError
from da_toolkit.evaluation.evaluate import evaluate
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import Adversarial, ClassBalanced, InstanceAdaptive, MeanTeacher, PseudoLabels, SourceOnly
from da_toolkit.methods.adversarial import OutputSpace
from da_toolkit.methods.prototypes import Prototypes
from da_toolkit.models.deeplab import DeepLabV2, LightDeepLabV3Plus
from da_toolkit.ranks.launch import launch
from da_toolkit.ranks.parallel import from_main, gathered_in_turn, streamed_in_turn
from da_toolkit.recipe import SGD, Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster, Patch, SpatialLogic, Superpixels
from da_toolkit.runs.checkpoint import Checkpoints
from da_toolkit.training.state import load_state, state_of
from da_toolkit.training.trainer import Trainer

ROUNDS = Schedule((Stage("warm-up", 1), *rounds(2, 2)))
SMALL_RPT = RPT(
    Patch(1.0), Cluster(clusters=8, components=4), SpatialLogic(weight=1.0, steps=5, width=8), Superpixels(12)
)
WATCHING = (SMALL_RPT, PseudoLabels(ClassBalanced()), PseudoLabels(InstanceAdaptive()), Prototypes())
# Batch norm's statistics are fixed: those of a rank's own images are others than those of all.
PLAIN = {
    "model": DeepLabV2("test_resnet", 16, "none", batch_norm="frozen", dilations=(1, 2)),
    "source_augmentation": Augmentation(flip=True),
    "optimizer": SGD(lr=0.02, head_multiplier=1),
}


def one_process():
    from lightning.fabric import Fabric

    return Fabric(accelerator="cpu", devices=1)


def test_items_dealt_in_turn_come_back_in_order_and_rank_0s_errors_are_everyones(tmp_path):
    def work(fabric):
        def refused():
            raise UserError("no room")

        rank, world = fabric.global_rank, fabric.world_size
        told = ""
        try:
            from_main(refused)
        except UserError as error:
            told = f"{error}, {error.code}"
        lists = [gathered_in_turn(list(range(count))[rank::world]) for count in range(6)]
        streams = [list(streamed_in_turn(iter(list(range(count))[rank::world]))) for count in range(6)]
        return {"told": told, "lists": lists, "streams": streams, "main": from_main(lambda: fabric.global_rank)}

    first, second = two_ranks(work, tmp_path)
    whole = [list(range(count)) for count in range(6)]
    assert first["lists"] == second["lists"] == first["streams"] == whole
    assert second["streams"] == [[]] * 6
    assert (first["told"], second["told"]) == ("no room, 2", ", 2")
    assert first["main"] == second["main"] == 0


@pytest.fixture
def one_thread():
    """As ranks have: with two, sums run in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_what_terms_freeze_in_every_stage_equals_one_processs_to_the_bit(tmp_path, tiny_recipe, toy):
    """The same networks, those of a run's three stages, are shown to one process and to two ranks; 11 images."""
    recipe = tiny_recipe(SourceOnly(regularizers=WATCHING), schedule=ROUNDS, **PLAIN)

    def frozen(fabric, networks):
        trainer, found = Trainer(recipe, fabric, toy(count=11), toy(count=11, seed=1)), []
        for stage, weights in zip(ROUNDS.stages, networks, strict=True):
            trainer.model.load_state_dict(weights)
            trainer.begin(stage)
            found.append(copy.deepcopy(trainer.players.state_dict()))
        return found

    networks = []
    alone = Trainer(tiny_recipe(SourceOnly(), steps=100, **PLAIN), one_process(), toy(count=11), toy(seed=1))
    for _ in ROUNDS.stages:
        networks.append(copy.deepcopy(alone.model.state_dict()))
        steps(alone, 10)

    def apart(fabric):
        os.environ["DA_TOOLKIT_CACHE"] = str(tmp_path / "cache")  # or the clusters would be read
        return frozen(fabric, networks)

    expected = frozen(one_process(), networks)
    rounds_ = [expected[stage]["1._extra_state"] for stage in (1, 2)]
    assert all((each["labels"]["patch"] != 255).any() and len(each["assignment"].unique()) > 3 for each in rounds_)
    assert not torch.equal(rounds_[0]["labels"]["patch"], rounds_[1]["labels"]["patch"])
    assert len(list((tmp_path).glob("cache/clusters/*"))) == 0
    for found in two_ranks(apart, tmp_path):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert len(list((tmp_path).glob("cache/clusters/*"))) == 1
    assert len(list((tmp_path).glob("cache/superpixels/*/*.png"))) == 11


def test_rpt_trained_over_rounds_by_two_ranks_equals_one_process_with_twice_the_batch(tmp_path, tiny_recipe, toy):
    """Weights differ by rounding, so at most 1 % of the regions may be labelled or selected otherwise."""

    def train(fabric, batch_size=2):
        method = SourceOnly(regularizers=(SMALL_RPT, PseudoLabels(ClassBalanced())))
        recipe = tiny_recipe(method, schedule=ROUNDS, batch_size=batch_size, **PLAIN)
        trainer = Trainer(recipe, fabric, toy(count=11), toy(count=11, seed=1))
        trainer.fit(lambda *_: None)
        return trainer.model.state_dict(), trainer.players.state_dict(), trainer.numbers()

    expected = train(one_process(), 4)
    for found in two_ranks(train, tmp_path):
        torch.testing.assert_close(found[0], expected[0], rtol=1e-3, atol=1e-4)
        rpt, wanted = found[1]["1._extra_state"], expected[1]["1._extra_state"]
        assert torch.equal(rpt["assignment"], wanted["assignment"])
        for name in ("patch", "cluster"):
            assert (rpt["labels"][name] != wanted["labels"][name]).float().mean() <= 0.01
        thresholds = found[1]["2._extra_state"]["thresholds"], expected[1]["2._extra_state"]["thresholds"]
        torch.testing.assert_close(*thresholds, rtol=0, atol=2e-3)  # two bins
        assert found[2] == pytest.approx(expected[2], abs=0.01)


@pytest.fixture
def resumable(tiny_recipe, toy):
    """Function: a trainer with every kind of state: dropout, batch norm, a teacher, prototypes, a discriminator."""
    recipe = tiny_recipe(
        Adversarial(discriminators=(OutputSpace(),), regularizers=(MeanTeacher(), Prototypes())),
        schedule=Schedule((Stage("warm-up", 2), Stage("round 1", 3, round=1))),
        model=LightDeepLabV3Plus("test_resnet", weights="none", width=8, aux=False, dropout=0.5),
        rare_classes=RareClasses(temperature=0.05),
    )
    return lambda fabric: Trainer(recipe, fabric, toy(count=11), toy(count=11, seed=1))


def steps(trainer, count):
    for _ in range(count):
        trainer.step()


def test_ranks_hold_one_state_and_resume_it_to_the_same_bits(tmp_path, resumable):
    """Rank 0's checkpoint is every rank's: weights, teachers, batch statistics, prototypes and random state."""

    def work(fabric):
        whole = resumable(fabric)
        whole.begin(whole.recipe.schedule.stages[1])
        steps(whole, 3)
        kept = Checkpoints(tmp_path / "checkpoints")
        from_main(lambda: kept.save(whole.done, state_of(whole)))
        steps(whole, 2)
        resumed = resumable(fabric)
        torch.rand(17)
        load_state(resumed, kept.load(fabric.device))
        steps(resumed, 2)
        states = copy.deepcopy([state_of(whole), state_of(resumed)])
        for state in states:
            del state["meter"], state["decided"]  # for reports, which rank 0 alone makes
        return states

    first, second = two_ranks(work, tmp_path)
    torch.testing.assert_close(first[0], second[0], rtol=0, atol=0)
    torch.testing.assert_close(first[1], first[0], rtol=0, atol=0)
    torch.testing.assert_close(second[1], first[0], rtol=0, atol=0)


def test_one_process_goes_on_with_the_images_that_two_ranks_have_not_seen(tmp_path, tiny_recipe, toy):
    """Of 11 images a step of two ranks takes 4: after two steps 3 of the epoch are left."""
    recipe = tiny_recipe(SourceOnly(), steps=6, batch_size=2, **PLAIN)

    def work(fabric):
        trainer = Trainer(recipe, fabric, toy(count=11), toy(seed=1))
        steps(trainer, 2)
        return state_of(trainer)

    state = two_ranks(work, tmp_path)[0]
    assert (state["done"], state["images"]) == (2, 8)
    alone = Trainer(recipe, one_process(), toy(count=11), toy(seed=1))
    load_state(alone, state)
    places = [place for batch in islice(EpochSampler(11, 1, seed=0), 14) for place in batch]
    seen = [alone.images.next()[0] for _ in range(3)]
    assert [int(i) for batch in seen for i in batch.index] == [index for _, index in places[8:]]
    assert sorted(index for _, index in places[:11]) == list(range(11))
    alone.images.close()
    alone.step()
    assert (alone.done, alone.images.seen) == (3, 10)


def test_uneven_shards_are_scored_exactly_and_in_order(tmp_path, tiny_recipe, toy):
    def scores(fabric):
        trainer = Trainer(tiny_recipe(SourceOnly(), **PLAIN), fabric, toy(), toy(seed=1))
        return evaluate(
            trainer.model,
            toy(count=5, seed=1),
            Evaluation(batch_size=2),
            (64, 96),
            fabric.device,
            rank=fabric.global_rank,
            world=fabric.world_size,
            reduce=lambda counts: fabric.all_reduce(counts, reduce_op="sum"),
        )

    expected = scores(one_process())
    assert len({tuple(matrix.flatten().tolist()) for matrix in expected}) == 5
    for found in two_ranks(scores, tmp_path):
        assert torch.equal(found, expected)


def test_devices_that_torchrun_contradicts_are_refused(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(UserError, match="--devices 3, but torchrun started 2"):
        launch(3, "32-true")
