"""docs/methods.md from the registry: what each method does, its terms, its cost, when to use it, how it is checked."""

from pathlib import Path
from typing import Any

from da_toolkit.methods import Adversarial, Method
from da_toolkit.models import MODELS
from da_toolkit.recipe import find_recipe, load_recipe, recipe_files
from da_toolkit.registry import METHODS, REGULARIZERS, Entry
from da_toolkit.shareable import short_commit

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
_GAME = "both sides' losses equal plain binary cross-entropies (or squared distances) of the discriminator's answers"
_MIX = "the mixed image, its labels and its weights equal the paper's, built image by image"
_PORTION = "thresholds label the surest share of the pixels of every class, also where nearly all are sure"
_SOFT = "the soft labels are the minimum of the paper's regularised loss, found against random neighbours"
CHECKS: dict[str, tuple[str, str]] = {
    "adaptseg": (_GAME, "test_adversarial.py::test_losses_equal_the_papers"),
    "adaptseg_multi": (f"{_GAME}, at both levels", "test_adversarial.py::test_losses_equal_the_papers"),
    "adaptseg_ls": (_GAME, "test_adversarial.py::test_losses_equal_the_papers"),
    "feature_adversarial": (
        "gradients reach the network through the target alone, and a lone discriminator learns the domains",
        "test_adversarial.py::test_gradients_stay_on_their_side",
    ),
    "fada": (
        "the loss over 2C answers equals a loop over positions",
        "test_class_adversarial.py::test_the_loss_equals_a_loop",
    ),
    "minent": (
        "the entropy equals a sum over pixels and classes",
        "test_entropy.py::test_entropy_equals_a_sum_over_classes",
    ),
    "maxsquare": (
        "loss and image-wise weights equal a loop over pixels; the gradient makes a torn pixel surer of its own class",
        "test_entropy.py::test_max_squares_equals_a_loop_over_pixels",
    ),
    "advent": ("the discriminator sees -p log p / log C", "test_entropy.py::test_advent_judges_self_information"),
    "advent_multi": ("as `advent`, at both levels", "test_entropy.py::test_advent_judges_self_information"),
    "fda": (
        "low frequencies have the target's amplitude, all others and every phase the source's, by a plain Fourier sum",
        "test_input_space.py::test_low_frequencies_have_the_targets_amplitude_and_all_others_the_sources",
    ),
    "lab": (
        "mean and deviation of each Lab channel are the target's, measured with scikit-image",
        "test_input_space.py::test_lab_statistics_are_the_targets_by_another_library",
    ),
    "cbst": (_PORTION, "test_pseudo_labels.py::test_class_balanced_keeps_its_portion_of_classes_that_are_sure"),
    "crst": (
        "losses equal plain means, the regulariser that of -log p over classes",
        "test_pseudo_labels.py::test_losses_equal_plain_means",
    ),
    "crst_soft": (_SOFT, "test_pseudo_labels.py::test_soft_labels_minimise_the_regularised_loss"),
    "iast": (
        "thresholds equal the paper's recursion from image to image",
        "test_pseudo_labels.py::test_instance_adaptive_thresholds_equal_the_papers_recursion",
    ),
    "proda": (
        "labels are those of frozen predictions times the softmax of relative distances, built position by position",
        "test_prototypes.py::test_losses_are_those_of_labels_weighted_by_relative_distances",
    ),
    "dacs": (_MIX, "test_mean_teacher.py::test_the_mixed_loss_equals_the_papers"),
    "daformer": (
        f"{_MIX}; the feature distance equals a loop over positions",
        "test_feature_distance.py::test_shares_and_distance_equal_loops",
    ),
    "mic": (
        "the masked loss equals the teacher's labels on an image hidden block by block",
        "test_mean_teacher.py::test_the_masked_loss_shows_the_network_less_than_the_teacher",
    ),
    "source_only": (
        "the mean cross-entropy over labelled pixels, and its weighted form, equal plain sums",
        "test_supervised.py::test_mean_cross_entropy_over_labelled_pixels",
    ),
    "oracle": (
        "as `source_only`, on the target's labels, which no other method can open",
        "test_supervised.py::test_target_labels_stay_closed_to_terms_that_do_not_name_them",
    ),
    "tent": (
        "the entropy equals a sum over pixels and classes, and nothing but scales and shifts of batch norms moves",
        "test_source_free.py::test_tent_moves_the_scales_and_shifts_of_batch_norms_alone",
    ),
    "source_free_shot": (
        "centroids and labels equal the paper's, position by position, both losses plain sums; the heads stay",
        "test_information_maximisation.py::test_centroids_and_labels_are_the_papers",
    ),
    "cotta": (
        "labels are the mean over zooms and mirrored images, and the expected share of weights comes back each step",
        "test_continual.py::test_a_step_restores_the_expected_share_of_the_weights_to_the_start",
    ),
    "target_bn": (
        "statistics equal mean and variance over all target positions",
        "test_target_bn.py::test_statistics_are_those_of_the_target",
    ),
}
"""How a method was checked against its paper's formula, and the test in tests/methods/ that does it."""


def parts(method: Method) -> str:
    """The settings classes that the method is put together from."""
    players = method.discriminators if isinstance(method, Adversarial) else ()
    names = [type(part).__name__ for part in (*players, *method.regularizers)]
    base = "source cross-entropy" if method.reads.source else "target cross-entropy"
    return ", ".join([*([] if method.starts_trained else [base]), *(f"`{name}`" for name in names)])


def row_of(entry: Entry) -> str:
    """The published row that a method's recipe restates, from the recipe's own data; nothing if it names none."""
    name = entry.recipe or f"{entry.name}_gta"
    if name not in recipe_files():
        return ""
    recipe = load_recipe(find_recipe(name))
    row = recipe.reported
    if row is None:
        return ""
    pair = f"{type(recipe.source).__name__} -> {type(recipe.target).__name__}"
    start = f"{row.network} from {row.start} weights"
    return f"{row.miou} mIoU ({row.paper}; {pair}, {row.protocol}; {start}; `{name}`: {row.note})"


def facts(entry: Entry, speed: dict[str, Any]) -> list[str]:
    """Terms, cost, published row and what is missing, a line each; `speed`: contents of results/speed.json."""
    cost = speed["step_ms"].get(entry.name)
    return [
        f"- terms: {parts(entry.build())}",
        f"- cost: {cost / speed['step_ms']['source_only']:.2f}" if cost else "- cost: not measured",
        f"- published row: {row_of(entry) or 'none'}",
        f"- what is missing: {entry.missing}",
    ]


def page(speed: dict[str, Any]) -> str:
    """Markdown.

    Args:
        speed: contents of results/speed.json.
    """
    lines = [
        "# Methods",
        "",
        "Written by `python benchmarks/tables.py` from the registry; do not edit it by hand. A method is a sum of",
        "terms. Those under *Terms that join any method* go into `regularizers=(...)` of every method;",
        "some need rounds in the schedule, or a method that reads a source, and a recipe without them is refused.",
        "A *published row* is a paper's score that the method's recipe restates; it is not reproduced here. *What is",
        "missing* is in what the recipe falls short of it.",
        "",
        "Cost: milliseconds of a training step relative to source-only, median, with the demo network on",
        f"{speed['device']} (`python benchmarks/speed.py`, commit {short_commit(speed['commit'])}); a round's pass",
        "over the target is not in it.",
        "Every method also passes the shared checks in `tests/methods/test_all_methods.py`.",
    ]
    families: dict[str, list[Entry]] = {}
    for entry in METHODS:
        families.setdefault(entry.family, []).append(entry)
    for family, entries in families.items():
        lines += ["", f"## {family}"]
        for entry in entries:
            lines += [
                "",
                f"### {entry.name}",
                f"{entry.summary} {entry.paper}".strip(),
                "",
                f"Formula, settings, when it fails: [{entry.name}](methods/{entry.name}.md)",
                "",
                *facts(entry, speed),
                f"- when to use it: {entry.use}",
                f"- how it was checked: {CHECKS[entry.name][0]} (`tests/methods/{CHECKS[entry.name][1]}`)",
            ]
    lines += ["", "## Terms that join any method", "", "| name | what it does | paper |", "| --- | --- | --- |"]
    lines += [f"| `{entry.build.__name__}` | {entry.summary} | {entry.paper} |" for entry in REGULARIZERS]
    lines += ["", "## Networks that every method trains", "", "| name | what it is | paper |", "| --- | --- | --- |"]
    lines += [f"| `{entry.name}` | {entry.summary} | {entry.paper} |" for entry in MODELS]
    lines += ["", "Vision foundation models (DINOv2, DINOv3) have a page of their own: [foundation.md](foundation.md)."]
    return "\n".join(lines) + "\n"
