"""`prepare check`: whether a recipe's data is what it is taken for; one file a question."""

from da_toolkit.check.recipe import check_recipe
from da_toolkit.check.report import Finding, Report
from da_toolkit.check.split import check_split

__all__ = ["Finding", "Report", "check_recipe", "check_split"]
