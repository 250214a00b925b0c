"""The words of the API are what Kubernetes takes, and every one of them is explained."""

from __future__ import annotations

import re

import pytest

from nodeport_access.api import ConditionType, PolicyKey, ServiceKey
from nodeport_access.reasons import Reason, Weight


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_one_word_with_a_sentence_for_people(reason: Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]+", reason)  # within the pattern of metav1.Condition
    assert re.fullmatch(r"\S.+\.", reason.sentence)
    assert isinstance(reason.weight, Weight)
    assert {str(other): other for other in Reason}[reason.value] is reason


def test_every_condition_type_is_one_word_and_ready_comes_first() -> None:
    assert next(iter(ConditionType)) is ConditionType.READY
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", kind) for kind in ConditionType)


def test_keys_are_written_as_namespace_and_name() -> None:
    assert str(PolicyKey("web", "guard")) == "web/guard"
    assert str(ServiceKey("web", "shop")) == "web/shop"
