"""python -m da_toolkit.compare: finished runs side by side, as `da-toolkit compare`."""

import sys
from types import ModuleType
from typing import Any

from da_toolkit.cli import started

main = started("compare")


class _Function(ModuleType):
    """Once imported, this module stands in the package under the name of `da_toolkit.compare`, and so does its work."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        from da_toolkit.api import compare

        return compare(*arguments, **named)


sys.modules[__name__].__class__ = _Function

if __name__ == "__main__":
    main()
