"""`probe` as a command: plans from files, dials over loopback, what is printed, exit codes, and wrong use."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from nodeport_access.probe import plan_file
from tests.unit import builders
from tests.unit.builders import endpoint, endpoint_slice, network_policy, port
from tests.unit.command_line import Run
from tests.unit.probes import plan, scene

STRANGER = ("--seen-as", "198.51.100.7")
QUICK = ("--timeout", "0.2", "--rate", "500", *STRANGER)


@pytest.fixture
def run(run: Run) -> Run:
    """The command `probe`."""
    return partial(run, "probe")


@contextlib.contextmanager
def open_port() -> Iterator[int]:
    """A port of loopback that takes everybody."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def closed_port() -> int:
    with open_port() as number:
        return number


def manifests(folder: Path, number: int, *, deny: bool = False) -> Path:
    """A Service whose node is this machine, on this node port."""
    bodies = [
        builders.service(ports=[port(80, node=number)]),
        endpoint_slice(endpoint("10.244.1.7", node="node-1", ready=True)),
        builders.node("node-1", addresses=["127.0.0.1"]),
        *([network_policy(name="deny-all")] if deny else []),
    ]
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump_all(bodies), encoding="utf-8")
    return path


# --- exit codes and what is printed ---


def test_who_gets_in_as_predicted_agrees(run: Run, tmp_path: Path) -> None:
    with open_port() as number:
        ran = run("web/shop", "-f", manifests(tmp_path, number), *QUICK)
    header, row, *_ = ran.out.splitlines()
    assert (ran.code, header.split()) == (0, ["NODE", "TARGET", "PREDICTED", "FOUND", "VERDICT", "WHY"])
    assert row.split()[:5] == ["node-1", f"127.0.0.1:{number}/TCP", "through", "in", "agrees"]
    assert "Of 1 target, dialled from 127.0.0.1 (seen as 198.51.100.7): 1 agrees." in ran.out


def test_who_gets_in_against_networkpolicy_leaks(run: Run, tmp_path: Path) -> None:
    with open_port() as number:
        files = manifests(tmp_path, number, deny=True)
        ran = run("web/shop", "-f", files, *QUICK, "--assume", "placement=own-node", "--proxy-mode", "iptables")
    assert ran.code == 1
    assert "NetworkPolicy is not enforced on this path" in ran.out


def test_who_does_not_get_in_is_blocked(run: Run, tmp_path: Path) -> None:
    ran = run("web/shop", "-f", manifests(tmp_path, closed_port()), *QUICK)
    assert ran.code == 3
    assert "blocked" in ran.out


def test_without_seen_as_a_node_has_nothing_predicted(run: Run, tmp_path: Path) -> None:
    ran = run("web/shop", "-f", manifests(tmp_path, closed_port()), "--timeout", "0.2")
    assert ran.code == 3
    assert "not predicted" in ran.out


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_every_attempt(run: Run, tmp_path: Path, form: str, load: Callable[[str], object]) -> None:
    with open_port() as number:
        ran = run("web/shop", "-f", manifests(tmp_path, number), *QUICK, "-o", form, "--attempts", "2")
    kept = load(ran.out)
    assert isinstance(kept, dict)
    assert (kept["kind"], kept["version"], kept["exitCode"]) == ("nodeport-access probe", 1, 0)
    assert kept["bounds"] == {"attempts": 2, "rate": 500.0, "timeout": 0.2, "timeLimit": 60.0}
    (found,) = kept["targets"]
    assert [attempt["result"] for attempt in found["attempts"]] == ["in", "in"]
    assert (found["source"], found["seenAs"]) == ("127.0.0.1", "198.51.100.7")


def test_it_dials_under_the_source_that_is_named(run: Run, tmp_path: Path) -> None:
    with open_port() as number:
        ran = run("web/shop", "-f", manifests(tmp_path, number), *QUICK, "--source", "127.0.0.9", "-o", "json")
    assert json.loads(ran.out)["targets"][0]["source"] == "127.0.0.9"


def test_what_the_time_limit_leaves_out_is_told_before_and_after(run: Run, tmp_path: Path) -> None:
    with open_port() as number:
        files = manifests(tmp_path, number)
        ran = run("web/shop", "-f", files, *STRANGER, "--rate", "1", "--time-limit", "0.1")
    assert ran.code == 3
    assert ran.err == ("3 dials take 2 s at this rate, and the time limit is 0.1 s: raise --rate or --time-limit.\n")
    assert "The time limit left 1 target without all attempts" in ran.out


# --- the plan ---


def test_a_plan_is_carried_to_a_machine_without_the_objects(run: Run, tmp_path: Path) -> None:
    with open_port() as number:
        exported = run("web/shop", "-f", manifests(tmp_path, number), "--export", tmp_path / "plan.json")
        ran = run("--plan", tmp_path / "plan.json", *QUICK)
        piped = run("--plan", "-", *QUICK, stdin=(tmp_path / "plan.json").read_text())
    assert (exported.code, exported.out) == (0, "")
    assert (ran.code, piped.code) == (0, 0)


def test_export_to_standard_output_is_the_plan_alone(run: Run, tmp_path: Path) -> None:
    ran = run("web/shop", "-f", manifests(tmp_path, 31602), "--export", "-", "--cni", "calico")
    found = plan_file.read(ran.out)
    assert [str(each) for each in found.targets] == ["127.0.0.1:31602/TCP"]
    assert ("placement", ("own-node",)) in [(one.key, one.answers) for one in found.assumptions]


def test_a_plan_for_one_address_serves_that_address(run: Run, tmp_path: Path) -> None:
    with open_port() as number:
        files = manifests(tmp_path, number, deny=True)
        run("web/shop", "-f", files, "--cni", "calico", "--export", tmp_path / "plan.json", "--for", "198.51.100.7")
        ran = run("--plan", tmp_path / "plan.json", "--timeout", "0.2", *STRANGER)
        other = run("--plan", tmp_path / "plan.json", "--timeout", "0.2", "--seen-as", "192.0.2.1")
    assert (ran.code, other.code) == (1, 3)
    assert "NetworkPolicy is not enforced on this path" in ran.out
    assert "The plan is for other addresses than 192.0.2.1." in other.out


def test_notes_of_a_plan_go_to_standard_error(run: Run, tmp_path: Path) -> None:
    ports = (port(80, node=31602), port(81, name="signals", protocol="SCTP"))
    (tmp_path / "plan.json").write_text(plan_file.write(plan(scene(ports=ports))))
    ran = run("--plan", tmp_path / "plan.json", "--time-limit", "0.05")
    assert "Port signals is of protocol SCTP, which is not dialled.\n" in ran.err


# --- wrong use ---


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return manifests(tmp_path, 31602)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "give NS/SERVICE, or a plan with --plan FILE."),
        (("web/shop", "--plan", "x"), "give NS/SERVICE, or a plan with --plan FILE."),
        (("shop", "-f", "FILES"), "'shop' is not NS/SERVICE, and -n gives no namespace."),
        (("a/b/c", "-f", "FILES"), "'a/b/c' is not NS/SERVICE, and -n gives no namespace."),
        (("web/none", "-f", "FILES"), "there is no Service web/none."),
        (("web/shop", "-f", "FILES", "--family", "IPv6"), "Service web/shop has no IPv6 address to dial."),
        (("--plan", "/nonexistent"), "/nonexistent: cannot be read: No such file or directory."),
        (("--plan", "FILES"), "FILES: it is not JSON"),
        (("--plan", "x", "--cni", "calico"), "--plan brings the objects and what is known of the cluster along"),
        (("--plan", "x", "--export", "y"), "--plan brings the objects and what is known of the cluster along"),
        (
            ("web/shop", "-f", "FILES", "--source", "192.0.2.1"),
            "--source 192.0.2.1 is none of this machine's addresses",
        ),
        (
            ("web/shop", "-f", "FILES", "--seen-as", "192.0.2.1", "--seen-as", "192.0.2.2"),
            "--seen-as takes one address of each family, not both 192.0.2.1 and 192.0.2.2.",
        ),
        (("web/shop", "-f", "FILES", "--for", "192.0.2.1"), "--for narrows the plan that --export writes: give both."),
        (("web/shop", "-f", "FILES", "--source", "here"), "'here' is not an IP address."),
        (("web/shop", "-f", "FILES", "--udp-payload", "/nonexistent"), "--udp-payload /nonexistent: cannot be read"),
        (("web/shop", "-f", "FILES", "--export", "/nonexistent/x"), "/nonexistent/x: cannot be written"),
        (("web/shop", "-f", "FILES", "--assume", "placement"), "'placement' is not KEY=VALUE"),
        (("web/shop", "-f", "FILES", "--assume", "place=x"), "'place' is none of the keys enforcement, placement"),
        (("web/shop", "-f", "FILES", "--assume", "placement=x"), "'x' is no answer to placement"),
    ],
)
def test_wrong_use_ends_in_one_sentence(run: Run, files: Path, words: tuple[str, ...], sentence: str) -> None:
    ran = run(*(str(files) if word == "FILES" else word for word in words))
    assert (ran.code, ran.out) == (2, "")
    assert sentence.replace("FILES", str(files)) in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_payload_that_does_not_fit_a_packet_is_refused(run: Run, files: Path, tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(b"x" * 1201)
    ran = run("web/shop", "-f", files, "--udp-payload", tmp_path / "payload")
    assert (ran.code, ran.out) == (2, "")
    assert "1201 bytes, more than 1200." in ran.err
