"""np-guard's published test folders: what is expected of netpol-analyzer there holds for our evaluator, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.oracles.np_guard import published
from tests.oracles.np_guard.__main__ import main
from tests.oracles.np_guard.comparison import ADMIN, NO_LIST, OUTPUTS, SUFFIX, Outcome, compare
from tests.oracles.np_guard.report import table

PUBLISHED = published.tests()

MANIFESTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: web}
spec:
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: main, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: caller, namespace: ops}, spec: {containers: []}}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: policy, namespace: web}
  spec:
    podSelector: {}
    ingress:
    - from: [{ipBlock: {cidr: 10.0.0.0/8}}, {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ops}}}]
      ports: [{port: http}, {protocol: UDP, port: 53, endPort: 55}]
"""
EXPECTED = """
0.0.0.0-255.255.255.255 => ops/caller[Pod] : All Connections
10.0.0.0-10.255.255.255 => web/shop[Deployment] : TCP 8080,UDP 53-55
ops/caller[Pod] => web/shop[Deployment] : TCP 8080,UDP 53-55
web/shop[Deployment] => ops/caller[Pod] : All Connections
ops/caller[Pod] => 0.0.0.0-255.255.255.255 : All Connections
{ingress-controller} => web/shop[Deployment] : TCP 8080
"""


def written(root: Path, *, manifests: str = MANIFESTS, expected: str | None = EXPECTED) -> Path:
    """The folder `tests` of one test folder, and what is expected of it beside it."""
    (root / "tests" / "one").mkdir(parents=True)
    (root / OUTPUTS).mkdir(parents=True)
    (root / "tests" / "one" / "objects.yaml").write_text(manifests, encoding="utf-8")
    if expected is not None:
        (root / OUTPUTS / f"one{SUFFIX}").write_text(expected, encoding="utf-8")
    return root / "tests"


def outcome_of(root: Path, **files: str | None) -> Outcome:
    """What comes of one folder."""
    (outcome,) = compare(written(root, **files))  # type: ignore[arg-type] # manifests are never None
    return outcome


def test_what_is_expected_of_a_folder_holds(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path)
    assert outcome.differences == []
    assert (outcome.outbound, outcome.by_controller, outcome.one_way) == (1, 1, 0)
    assert 0 < outcome.admitted < outcome.questions


@pytest.mark.parametrize(
    ("line", "instead", "difference"),
    [
        (
            "ops/caller[Pod] => web/shop[Deployment] : TCP 8080,UDP 53-55\n",
            "",
            "np-guard refuses ops/caller[Pod] to TCP 8080 of web/shop[Deployment]",
        ),
        (
            "10.0.0.0-10.255.255.255 => web/shop",
            "10.0.0.0-11.255.255.255 => web/shop",
            "np-guard admits 11.255.255.255 to UDP 54 of web/shop[Deployment]",
        ),
        ("UDP 53-55\nops", "UDP 53-56\nops", "np-guard admits 10.0.0.0 to UDP 56 of web/shop[Deployment]"),
        ("0.0.0.0-255.255.255.255 => ops", "0.0.0.0-9.255.255.255 => ops", "np-guard refuses 10.0.0.0 to TCP"),
    ],
)
def test_what_is_not_so_is_told(tmp_path: Path, line: str, instead: str, difference: str) -> None:
    assert line in EXPECTED
    outcome = outcome_of(tmp_path, expected=EXPECTED.replace(line, instead))
    assert any(each.startswith(difference) for each in outcome.differences), outcome.differences


def test_where_egress_is_restricted_only_what_is_admitted_must_hold(tmp_path: Path) -> None:
    spec = "spec: {podSelector: {}, policyTypes: [Egress]}"
    egress = f"---\nkind: NetworkPolicy\nmetadata: {{name: out, namespace: ops}}\n{spec}"
    silent = EXPECTED.replace("ops/caller[Pod] => web/shop[Deployment] : TCP 8080,UDP 53-55\n", "")
    outcome = outcome_of(tmp_path / "less", manifests=MANIFESTS + egress, expected=silent)
    assert outcome.differences == []
    assert outcome.one_way > 0

    more = EXPECTED.replace(
        "ops/caller[Pod] => web/shop[Deployment] : TCP 8080", "ops/caller[Pod] => web/shop[Deployment] : TCP 8081"
    )
    outcome = outcome_of(tmp_path / "more", manifests=MANIFESTS + egress, expected=more)
    assert outcome.differences == ["np-guard admits ops/caller[Pod] to TCP 8081 of web/shop[Deployment]"]


def test_folders_about_something_else_are_left_out_by_name(tmp_path: Path) -> None:
    assert outcome_of(tmp_path / "none", expected=None).left_out == NO_LIST
    admin = "---\nkind: AdminNetworkPolicy\nmetadata: {name: admin}\nspec: {}"
    assert outcome_of(tmp_path / "admin", manifests=MANIFESTS + admin).left_out == ADMIN


def test_the_command_says_what_differs_by_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(written(tmp_path / "right"))]) == 0
    assert capsys.readouterr().out.startswith("1 folders: 1 compared by ")
    assert main([str(written(tmp_path / "wrong", expected=""))]) == 1
    assert "np-guard refuses " in capsys.readouterr().out
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere: not a folder with np-guard's expectations beside it" in capsys.readouterr().err


if not isinstance(PUBLISHED, str):  # else the end of the run says why
    PUBLISHED_TESTS = PUBLISHED

    def test_all_published_folders_agree_and_the_page_says_so() -> None:
        outcomes = list(compare(PUBLISHED_TESTS))
        assert [f"{each.name}: {each.differences[:3]}" for each in outcomes if each.differences] == []
        figures = Path(__file__).parents[2] / "docs" / "np-guard-figures.txt"
        assert figures.read_text(encoding="utf-8").splitlines() == list(table(outcomes)), (
            "run `python -m tests.oracles.np_guard --figures docs/np-guard-figures.txt` and `make docs`"
        )
