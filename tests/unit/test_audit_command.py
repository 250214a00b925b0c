"""`audit` and `explain` on files: what they print, to where, and what the exit code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.audits import ALL, BARE, CLOSED, GUARDED, TRAPPED, service, write
from tests.unit.command_line import Run


def test_the_table_has_a_line_for_each_port_worst_first_and_the_claim(run: Run, tmp_path: Path) -> None:
    ran = run("audit", "-f", write(tmp_path, *BARE, *GUARDED))
    lines = [re.split(r"  +", line) for line in ran.out.splitlines()]
    assert (ran.code, ran.err) == (0, "")
    assert lines[1] == ["web/bare", "http", "30002/TCP", "everyone (IPv4)", "all 3 nodes", "none", "-"]
    assert lines[2][-2:] == ["shop: Ready", "-"]
    assert "new connections" in ran.out
    assert "\x1b" not in ran.out


def test_files_are_looked_at_as_the_operator_makes_them_unless_they_are_to_be_as_they_stand(
    run: Run, tmp_path: Path
) -> None:
    path = write(tmp_path, *GUARDED)
    planned, stands = (json.loads(run("audit", "-f", path, "-o", "json", *more).out) for more in ((), ("--as-is",)))
    assert planned["summary"]["listed"] == stands["summary"]["open"] == 1


@pytest.mark.parametrize(
    ("texts", "bars", "code", "said"),
    [
        (BARE, ["open"], 1, "--fail-on: 1 of open.\n"),
        (BARE, ["perhaps"], 1, "--fail-on: 1 of perhaps or worse.\n"),
        (BARE, ["trap"], 0, ""),
        (TRAPPED, ["open"], 0, ""),
        (TRAPPED, ["perhaps", "high-trap"], 1, "--fail-on: 1 of perhaps or worse; 2 of high-trap.\n"),
        (GUARDED, ["perhaps", "trap"], 0, ""),
        (GUARDED, ["listed"], 1, "--fail-on: 1 of listed or worse.\n"),
        (CLOSED, ["listed"], 0, ""),
    ],
)
def test_the_exit_code_tells_what_was_found(
    run: Run, tmp_path: Path, texts: tuple[str, ...], bars: list[str], code: int, said: str
) -> None:
    flags = [word for bar in bars for word in ("--fail-on", bar)]
    ran = run("audit", "-f", write(tmp_path, *texts), *flags)
    assert (ran.code, ran.err) == (code, said)


def test_yaml_and_json_say_the_same(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, *ALL)
    loaders = (("json", json.loads), ("yaml", yaml.safe_load))
    found = [load(run("audit", "-f", path, "-o", form).out) for form, load in loaders]
    for each in found:
        del each["madeAt"]
    assert found[0] == found[1]
    assert len(found[0]["services"]) == 11


def test_a_file_takes_the_output(run: Run, tmp_path: Path) -> None:
    written = tmp_path / "report.html"
    ran = run("audit", "-f", write(tmp_path, *ALL), "-o", "html", "--output-file", str(written))
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    text = written.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "web/back-door" in text
    assert not re.search(r"(?:src|href)=[\"'](?!#)", text)


def test_a_file_that_cannot_be_written_is_one_sentence(run: Run, tmp_path: Path) -> None:
    ran = run("audit", "-f", write(tmp_path, *BARE), "--output-file", str(tmp_path / "no" / "x"))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("x cannot be written: No such file or directory.\n")


def test_sarif_is_printed(run: Run, tmp_path: Path) -> None:
    log = json.loads(run("audit", "-f", write(tmp_path, *BARE), "-o", "sarif").out)
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == ["open-to-everyone"]


def test_a_namespace_narrows_what_is_listed(run: Run, tmp_path: Path) -> None:
    elsewhere = service("other", 30050).replace("namespace: web", "namespace: away")
    path = write(tmp_path, *BARE, elsewhere)
    names = {
        flags: [one["name"] for one in json.loads(run("audit", "-f", path, "-o", "json", *flags).out)["services"]]
        for flags in ((), ("-n", "away"))
    }
    assert {key: sorted(value) for key, value in names.items()} == {(): ["bare", "other"], ("-n", "away"): ["other"]}


def test_what_is_known_of_the_cluster_is_said_and_settles(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, *TRAPPED)
    assert "perhaps everyone" in run("audit", "-f", path).out
    ran = run("audit", "-f", path, "--cni", "calico", "--proxy-mode", "iptables")
    assert "perhaps" not in ran.out
    assert "kube-proxy serves node ports by iptables" in ran.out


def test_no_exposed_service_is_said(run: Run, tmp_path: Path) -> None:
    ran = run("audit", "-f", write(tmp_path), "--fail-on", "listed", "--fail-on", "trap")
    assert ran.code == 0
    assert ran.out.startswith("No Service is exposed in ")


def test_explain_reads_as_sentences(run: Run, tmp_path: Path) -> None:
    ran = run("explain", "web/shop", "-f", write(tmp_path, *GUARDED), "--from", "203.0.113.66", "--node", "n2")
    assert ran.code == 0
    for line in (
        "203.0.113.66 is outside the cluster, as far as its objects tell.",
        "Port http by node-port through n2: refused",
        "  NetworkPolicy shop-deny-all has no rule, so it admits nobody by itself.",
    ):
        assert line in ran.out.splitlines()
    assert "new connections" in ran.out


def test_explain_without_a_client_tells_who_gets_in(run: Run, tmp_path: Path) -> None:
    ran = run("explain", "shop", "-n", "web", "-f", write(tmp_path, *GUARDED))
    assert "Port http by node-port through n1, n3: nobody" in ran.out.splitlines()
    assert "  Namespace ops by cluster-address: 1 refused." in ran.out.splitlines()


def test_explain_tells_which_flag_would_settle_it(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, *TRAPPED)
    ran = run("explain", "web/trapped", "-f", path, "--from", "198.51.100.7", "--node", "n2")
    assert "--assume proxy-mode=…" in ran.out
    assert "Port http by node-port through n2: depends" in ran.out.splitlines()


@pytest.mark.parametrize(
    ("who", "expect", "more", "code"),
    [
        ("203.0.113.5", "through", [], 0),
        ("203.0.113.5", "refused", [], 1),
        ("203.0.113.5", "refused", ["--node", "n1"], 0),
        ("198.51.101.1", "refused", [], 0),
        ("198.51.101.1", "through", [], 1),
        ("198.51.101.1", None, [], 0),
    ],
)
def test_the_exit_code_is_about_what_is_expected(
    run: Run, tmp_path: Path, who: str, expect: str | None, more: list[str], code: int
) -> None:
    flags = ["--expect", expect] if expect else []
    assert run("explain", "web/shop", "-f", write(tmp_path, *GUARDED), "--from", who, *flags, *more).code == code


def test_what_depends_is_neither_through_nor_refused(run: Run, tmp_path: Path) -> None:
    asked = ["explain", "web/trapped", "-f", write(tmp_path, *TRAPPED), "--from", "198.51.100.7", "--node", "n2"]
    assert [run(*asked, "--expect", word).code for word in ("through", "refused")] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["web/nope"], "there is no Service web/nope; there is web/bare.\n"),
        (["web/bare", "--node", "n7"], "there is no node n7; there is n1, n2, n3.\n"),
        (["web/bare", "--port", "x"], "Service web/bare has no port x; it has http (80).\n"),
        (["web/bare", "--from", "x"], "'x' is neither an IP address nor NAMESPACE/POD.\n"),
        (["web/bare", "-n", "ops"], "-n ops and web/bare name two namespaces; leave one out.\n"),
        (["web/bare", "--expect", "through"], "--expect holds the answer to one client against it: give --from too.\n"),
    ],
)
def test_wrong_use_is_one_sentence(run: Run, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    ran = run("explain", *arguments, "-f", write(tmp_path, *BARE))
    assert (ran.code, ran.out, ran.err) == (2, "", f"nodeport-access: {sentence}")


def test_json_and_yaml_of_an_explanation_say_the_same(run: Run, tmp_path: Path) -> None:
    asked = ["explain", "web/shop", "-f", write(tmp_path, *GUARDED), "--from", "203.0.113.5"]
    found = json.loads(run(*asked, "-o", "json").out)
    assert found == yaml.safe_load(run(*asked, "-o", "yaml").out)
    assert found["kind"] == "NodePortExplanation"
    assert {answer["answer"] for answer in found["answers"]} == {"through", "refused"}


def test_the_template_engine_is_loaded_for_a_page_only() -> None:
    code = (
        "import sys; import nodeport_access.__main__, nodeport_access.handlers, nodeport_access.audit;"
        "sys.exit('jinja2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
