"""Two ranks with two images each are one process with four, for every registered method."""

import torch
from ranks import gradients, two_ranks
from tester import METHOD_NAMES

from da_toolkit.data.transforms import Augmentation
from da_toolkit.models.deeplab import DeepLabV2
from da_toolkit.recipe import SGD
from da_toolkit.registry import METHODS
from da_toolkit.training.trainer import Trainer

# A method that trains batch norms alone has those of a rank's own images.
NAMES = [name for name in METHOD_NAMES if getattr(METHODS[name].build(), "trains", "all") != "norms"]

# A discriminator's gradients are those of the first step: then Adam moves by their sign, which rounding decides at 0.
# Batch norm's statistics are fixed: those of a rank's own images are others than those of all.
SETTINGS = {
    "model": DeepLabV2("test_resnet", 16, "none", batch_norm="frozen", aux=True, dilations=(1, 2)),
    "source_augmentation": Augmentation(flip=True),
    "optimizer": SGD(lr=0.05, head_multiplier=1),
}


def test_gradients_of_a_rounds_first_step_are_equal_for_every_method(tmp_path, tiny_recipe, toy):
    from lightning.fabric import Fabric

    class Ragged(toy):
        """A different number of labelled pixels in every image."""

        def label(self, index):
            label = super().label(index)
            label[: 9 * (index % 4)] = 255
            return label

    def second_steps(fabric, batch_size=2):
        found = {}
        for name in NAMES:
            recipe = tiny_recipe(METHODS[name].build(), steps=2, rounds=True, batch_size=batch_size, **SETTINGS)
            trainer = Trainer(recipe, fabric, Ragged(), Ragged(seed=1))
            first = {}

            def look(step, trainer=trainer, first=first):
                if step == 1:
                    first.update({key: grad.clone() for key, grad in gradients(trainer).items() if key[:5] == "term."})

            trainer.fit(lambda *_: None, after_step=look)
            found[name] = {key: grad for key, grad in gradients(trainer).items() if key[:5] != "term."} | first
        return found

    ranks = two_ranks(second_steps, tmp_path)
    expected = second_steps(Fabric(accelerator="cpu", devices=1), 4)
    for name in NAMES:
        for found in ranks:
            assert found[name].keys() == expected[name].keys()
            for key, tensor in expected[name].items():
                tolerance = 1e-6 + 2e-3 * tensor.abs().max().item()
                torch.testing.assert_close(found[name][key], tensor, rtol=2e-3, atol=tolerance, msg=f"{name}: {key}")
