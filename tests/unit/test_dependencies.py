"""Every locked package has been looked at: its licence, and who keeps it."""

from __future__ import annotations

import importlib.metadata
import re

import pytest

from docs import dependencies_page
from tests.shipped import lock

NAMES = sorted(lock("runtime.lock"))


def test_it_is_written_down_who_keeps_each_package_and_of_no_other() -> None:
    assert sorted(dependencies_page.KEPT_BY) == NAMES == sorted(dependencies_page.locked())


def test_every_licence_is_one_under_which_this_project_can_be_handed_on() -> None:
    licences = {one.name: one.licence for one in dependencies_page.packages()}

    assert {
        name: licence
        for name, licence in licences.items()
        if not dependencies_page.identifiers(licence) <= dependencies_page.ACCEPTED
    } == {}


@pytest.mark.parametrize("name", NAMES)
def test_every_package_brings_the_text_of_its_licence(name: str) -> None:
    files = [file.name for file in importlib.metadata.files(name) or () if ".dist-info" in str(file)]

    assert [file for file in files if re.match(r"(?i)(licen[cs]e|copying)", file)], files


def test_a_package_is_asked_for_by_the_operator_or_by_another() -> None:
    lonely = [one.name for one in dependencies_page.packages() if not one.asked_for_by]

    assert lonely == ["setuptools"]
