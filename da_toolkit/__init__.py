"""da_toolkit: unsupervised domain adaptation of semantic segmentation.

    import da_toolkit as dt

    run = dt.train("adaptseg_gta", demo=True)
    run.predict("photo.jpg").shares()

`load_recipe`, `train`, `load_run`, `compare` and `list_methods` are loaded when first asked for.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "list_methods", "load_recipe", "load_run", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        place = "catalogue" if name == "list_methods" else "api"  # names need no torch
        return getattr(importlib.import_module(f"da_toolkit.{place}"), name)
    raise AttributeError(f"module 'da_toolkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
