"""A network as an ONNX or torch.export file: with any batch and size where it can, checked, with less where not."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.export import Dim, ExportedProgram

from da_toolkit.errors import UserError
from da_toolkit.exporting.deployed import Deployed
from da_toolkit.exporting.equality import Equality, Run, Shape, measured

Format = Literal["onnx", "torch-export"]
INPUT, OUTPUT = "images", "logits"
FILES: dict[Format, str] = {"onnx": "model.onnx", "torch-export": "model.pt2"}


@dataclass(frozen=True)
class Freedom:
    """Which sizes a file takes."""

    batch: bool
    step: int | None
    """Heights and widths are multiples of it, 1 = any; none: only those of the export."""

    def told(self, size: tuple[int, int]) -> str:
        """In words; `size` is that of the export."""
        sizes = {None: f"only {size[0]}x{size[1]} (height x width)", 1: "any height and width"}
        told = sizes.get(self.step, f"heights and widths that are multiples of {self.step}")
        return f"{'any number of images' if self.batch else 'one image'} at once, {told}"


@dataclass(frozen=True)
class Written:
    """An exported file, and what it is worth."""

    file: Path
    freedom: Freedom
    equality: Equality
    measured_in: str
    """The library that ran it, with its version."""


@dataclass(frozen=True)
class _Try:
    trace: Shape
    freedom: Freedom
    shapes: tuple[Shape, ...]
    """At which it is run and compared."""


def write_program(
    network: Deployed, kind: Format, folder: Path, size: tuple[int, int], step: int, facts: dict[str, Any]
) -> Written:
    """Write the file with as much freedom as the network allows.

    A graph is not believed: it is run at sizes that it claims to take, and what is not equal there is exported again
    with less freedom. Some networks bring images to multiples of their patch; that step stays in the graph only if it
    is traced at a size that is none.

    Args:
        network: on the CPU.
        size: (height, width) that the run's network sees.
        step: pixels by which sizes may have to go, such as a transformer's patch.
        facts: kept in the file: classes, colours, ...

    Raises:
        UserError: a package is missing, or no export is equal to the network.
    """
    if kind == "onnx":
        _require_onnx()
    file, whys = folder / FILES[kind], []
    for one in _tries(size, step):
        try:
            program = _traced(network, one)
            run, version, keep = (_onnx if kind == "onnx" else _torch_export)(program, file)
            equality = measured(network, run, one.shapes)
        except Exception as error:  # exporters refuse in many ways; the next try asks for less
            whys.append(f"{one.freedom.told(size)}: {' '.join(str(error).split())[:160]}")
            continue
        if equality.good:
            keep(facts | {"takes": one.freedom.told(size), "equality": equality.to_json(), "measured_in": version})
            return Written(file, one.freedom, equality, version)
        whys.append(f"{one.freedom.told(size)}: logits differ by {equality.difference:.1e}")
    raise UserError(
        f"--format {kind}: this network cannot be exported, or not so that it stays equal ({'; '.join(whys)}). Use "
        "--format safetensors, which keeps the network itself."
    )


def _tries(size: tuple[int, int], step: int) -> list[_Try]:
    """From the greatest freedom to the least."""
    height, width = size
    fits = (max(1, round(height / step)) * step, max(1, round(width / step)) * step)
    other = (fits[0] + 2 * step, fits[1] - step if fits[1] > step else fits[1] + step)
    anything = ((1, *size), (3, height + 13, width + 6), (2, *other))
    return [
        _Try((2, height + 3, width + 5), Freedom(True, 1), anything),
        _Try((2, *size), Freedom(True, 1), anything),
        _Try((2, *fits), Freedom(True, step), ((1, *fits), (3, *other))),
        _Try((2, *size), Freedom(True, None), ((1, *size), (3, *size))),
        _Try((1, *size), Freedom(False, None), ((1, *size),)),
    ]


def _traced(network: Deployed, one: _Try) -> ExportedProgram:
    free = {0: Dim.DYNAMIC} if one.freedom.batch else {}
    free |= {2: Dim.DYNAMIC, 3: Dim.DYNAMIC} if one.freedom.step else {}
    with torch.no_grad():
        return torch.export.export(network, (torch.rand(one.trace[0], 3, *one.trace[1:]),), dynamic_shapes=(free,))


_Opened = tuple[Run, str, Callable[[dict[str, Any]], None]]
"""What runs a file, in which version of which library, and what writes it again with facts in it."""


def _onnx(program: ExportedProgram, file: Path) -> _Opened:
    import onnxruntime

    made: Any = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=[INPUT], output_names=[OUTPUT], external_data=False
    )
    made.save(str(file))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def keep(facts: dict[str, Any]) -> None:
        made.model.metadata_props.update({name: json.dumps(value) for name, value in facts.items()})
        made.save(str(file))

    return lambda batch: session.run([OUTPUT], {INPUT: batch})[0], f"onnxruntime {onnxruntime.__version__}", keep


def _torch_export(program: ExportedProgram, file: Path) -> _Opened:
    torch.export.save(program, file)
    module = torch.export.load(file).module()

    def run(batch: np.ndarray) -> np.ndarray:
        found: np.ndarray = module(torch.from_numpy(batch)).numpy()
        return found

    def keep(facts: dict[str, Any]) -> None:
        told = {f"{name}.json": json.dumps(value) for name, value in facts.items()}
        torch.export.save(program, file, extra_files=told)

    return run, f"torch {torch.__version__}", keep


def _require_onnx() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"--format onnx needs the package {error.name}: pip install 'da_toolkit[export]'.") from error
