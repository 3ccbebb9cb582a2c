"""What a method of one's own must build."""

from dataclasses import dataclass
from typing import Any

import pytest
from torch import nn

from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.errors import UserError
from da_toolkit.terms.term import BuildContext, Method, Reads, Regularizer, Term


@dataclass(frozen=True)
class Own(Method):
    built: Any = None

    def terms(self, context):
        return self.built


class Unborn(Term):
    def __init__(self):
        self.weight = 1.0


@dataclass(frozen=True)
class Joined(Regularizer):
    def build(self, context):
        return nn.ReLU()


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (Own(built=Term()), "`terms` of Own must return a list of Terms, not Term"),
        (Own(built=[nn.Conv2d(1, 1, 1)]), "Own builds Conv2d, which is no Term"),
        (Own(built=[Term()], regularizers=(Joined(),)), "Joined builds ReLU, which is no Term"),
        (Own(built=[Unborn()]), r"`__init__` of Unborn must begin with super\(\).__init__\(\)"),
        (Own(built=[]), "`terms` of Own returned no Term, so nothing would be trained"),
    ],
)
def test_what_is_no_term_is_told_with_its_class(method, told):
    with pytest.raises(UserError, match=told):
        method.build(BuildContext(CITYSCAPES19, 8, nn.Identity()))


class WithoutContext(Own):
    def terms(self):
        return []


class WithMore(Own):
    def terms(self, context, strength):
        return []


class RegularizerWithoutContext(Joined):
    def build(self):
        return Term()


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (WithoutContext(), "`terms` of WithoutContext is given the context alone and must take it"),
        (WithMore(), r"`terms` of WithMore .*write `def terms\(self, context\)`"),
        (Own(built=[Term()], regularizers=(RegularizerWithoutContext(),)), "`build` of RegularizerWithoutContext"),
    ],
)
def test_a_method_that_does_not_take_the_context_is_told(method, told):
    with pytest.raises(UserError, match=told):
        method.build(BuildContext(CITYSCAPES19, 8, nn.Identity()))


class Called(Own):
    def own_reads(self):
        return Reads()


class Plain(Own):
    own_reads = ("source",)


@pytest.mark.parametrize(("method", "told"), [(Called, "not a method"), (Plain, "not tuple")])
def test_reads_that_are_no_property_of_the_right_type_are_told(method, told):
    with pytest.raises(UserError, match=f"`own_reads` of {method.__name__} must be a @property .*, {told}"):
        _ = method().reads
