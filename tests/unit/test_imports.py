"""Which module may import which, and why `operator/` stays a folder that Python does not take for a package.

What the modules do is not its business: it reads their source and never imports them.
"""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from nodeport_access.kube import library

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOT = ROOT / "operator"
PACKAGE = "nodeport_access"

# A module may import from its own layer and from earlier ones, and nobody in a circle. A folder stands for everything
# inside it, but for modules that have a place of their own by their dotted name.
LAYERS: dict[str, tuple[str, ...]] = {
    "words": (
        "__init__",
        "allowlist",
        "api",
        "cidrs",
        "conditions",
        "fields",
        "metric_families",
        "outcome",
        "policy_body",
        "reasons",
        "strings",
    ),
    "facts": ("label_selectors", "managed_fields", "observed", "rules", "snapshot"),
    "judgement": ("checks", "covering", "desired", "drift", "exposure", "opening", "survey", "verdict"),
    "decision": ("contention", "doubts", "evaluate", "last_drifts", "patience", "plan", "probe", "silence", "status"),
    "world": (
        "complaints",
        "election",
        "events",
        "feed",
        "inventory",
        "kube",
        "lease",
        "logs",
        "metrics",
        "settings",
        "shelf",
        "store",
        "tenure",
        "wall_clock",
        "watches",
        "pod_watches",
        "workqueue",
    ),
    "loop": ("controller", "reconcile", "refusals", "reporter", "views", "workers", "writer"),
    "shell": (
        "__main__",
        "access_changes",
        "audit",
        "cli",
        "demo",
        "explaining",
        "handlers",
        "operating",
        "probe.dialling",
        "probe.pacing",
        "server",
    ),
}

# No await, no clock, no client: the same input always gives the same answer, in the operator, in Audit and offline.
PURE_LAYERS = ("words", "facts", "judgement", "decision")
# fmt: off
IMPURE = frozenset({
    "aiohttp", "asyncio", "click", "concurrent", "kopf", "kubernetes", "logging", "multiprocessing", "os",
    "prometheus_client", "pythonjsonlogger", "random", "secrets", "signal", "socket", "ssl", "subprocess", "tempfile",
    "threading", "time", "urllib",
})
# fmt: on
CLOCK_READS = frozenset({"now", "utcnow", "today"})

# A library that costs start-up time or owns the process is known to one place only.
OWNERS: dict[str, tuple[str, ...]] = {
    "jinja2": ("audit",),
    "kopf": ("__main__", "handlers"),
    "kubernetes": ("kube.library",),
    "prometheus_client": ("metrics",),
}


def modules(source_root: Path) -> dict[str, Path]:
    """Every module of the package by its dotted name below the package; a folder's `__init__` by the folder's name."""
    found = {}
    for path in sorted((source_root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(source_root / PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


PLACES = frozenset(name for names in LAYERS.values() for name in names)


def place(module: str) -> str:
    """What stands for the module in the tables: the name itself where it is there, else its first part."""
    return module if module in PLACES else module.partition(".")[0]


def is_in(module: str, places: Iterable[str]) -> bool:
    """Whether the module is one of these, or inside of one."""
    return any(f"{module}.".startswith(f"{place}.") for place in places)


def imports(path: Path, source_root: Path) -> Iterator[str]:
    """Absolute dotted names that the file imports anywhere, types and imports inside functions included."""
    package = path.relative_to(source_root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def own(imported: str, known: dict[str, Path]) -> str | None:
    """The module of the package that an imported name comes from; None for another package's."""
    top, _, name = imported.partition(".")
    if top != PACKAGE:
        return None
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or "__init__"


def impurities(path: Path) -> Iterator[str]:
    """What a pure module must not contain, beyond imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"line {node.lineno} awaits"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_READS:
            yield f"line {node.lineno} reads the clock by .{node.func.attr}()"


def offences(source_root: Path) -> list[str]:
    """One sentence for each place where the package breaks the order."""
    height = {name: level for level, names in enumerate(LAYERS.values()) for name in names}
    pure = {name for layer in PURE_LAYERS for name in LAYERS[layer]}
    known = modules(source_root)
    graph: dict[str, set[str]] = {}
    found = []
    for module, path in known.items():
        here = place(module)
        if here not in height:
            found.append(f"{module} is in no layer: add it to LAYERS in {Path(__file__).name}, where it belongs")
            continue
        for imported in imports(path, source_root):
            target, library = own(imported, known), imported.partition(".")[0]
            if target is None:
                if not is_in(module, OWNERS.get(library, (module,))):
                    found.append(f"{module} imports {library}, which is for {' and '.join(OWNERS[library])} only")
                if here in pure and library in IMPURE:
                    found.append(f"{module} is pure and imports {library}")
                continue
            if target != module:
                graph.setdefault(module, set()).add(target)
            if height.get(place(target), 0) > height[here]:
                found.append(f"{module} imports {target}, which is in a later layer")
        if here in pure:
            found.extend(f"{module} is pure, but {what}" for what in impurities(path))
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"imports go in a circle: {' -> '.join(reversed(error.args[1]))}")
    return found


def test_imports_point_one_way_and_each_library_stays_in_its_place() -> None:
    assert offences(SOURCE_ROOT) == []


@pytest.mark.parametrize(
    ("module", "source", "offence"),
    [
        ("gadget", "", "gadget is in no layer: add it to LAYERS in test_imports.py, where it belongs"),
        ("drift", "from nodeport_access.kube import Api", "drift imports kube, which is in a later layer"),
        ("drift", "from nodeport_access import kube", "drift imports kube, which is in a later layer"),
        ("drift", "from .kube import Api", "drift imports kube, which is in a later layer"),
        ("evaluate/rules", "from ..kube import Api", "evaluate.rules imports kube, which is in a later layer"),
        ("checks", "def f():\n    import nodeport_access.kube", "checks imports kube, which is in a later layer"),
        ("kube", "from nodeport_access.kube import Api", None),
        ("reconcile", "from nodeport_access.kube import Api", None),
        ("store", "import kopf", "store imports kopf, which is for __main__ and handlers only"),
        ("store", "from kubernetes.aio import client", "store imports kubernetes, which is for kube.library only"),
        ("kube/client", "import kubernetes", "kube.client imports kubernetes, which is for kube.library only"),
        ("kube/library", "import kubernetes", None),
        ("store", "import prometheus_client", "store imports prometheus_client, which is for metrics only"),
        ("metrics", "import prometheus_client", None),
        ("plan", "import asyncio", "plan is pure and imports asyncio"),
        ("plan", "async def f(): ...", "plan is pure, but line 1 awaits"),
        ("plan", "x = datetime.now(tz)", "plan is pure, but line 1 reads the clock by .now()"),
        ("store", "import asyncio\nx = datetime.now(tz)", None),
    ],
)
def test_each_kind_of_offence_is_seen(tmp_path: Path, module: str, source: str, offence: str | None) -> None:
    for name, text in {"kube": "Api = 1", module: source}.items():
        path = tmp_path / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert offences(tmp_path) == ([] if offence is None else [offence])


def test_what_is_not_used_of_kubernetes_is_not_loaded_until_somebody_asks_for_it() -> None:
    program = """
import sys
import nodeport_access.kube
print([name for name in sys.modules if name.startswith("kubernetes.")])
import kubernetes
print(kubernetes.config.load_kube_config.__module__, kubernetes.aio.watch.Watch.__module__)
"""
    environment = {"PYTHONPATH": str(SOURCE_ROOT), "PATH": os.environ["PATH"]}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    listed, asked_for = ran.stdout.splitlines()
    loaded = set(ast.literal_eval(listed))
    assert loaded >= library.UNUSED, "what is not there (any more) need not be named"
    assert [name for name in loaded - library.UNUSED if is_in(name, library.UNUSED)] == []
    assert asked_for == "kubernetes.config.kube_config kubernetes.aio.watch.watch"


def test_a_circle_inside_one_layer_is_seen(tmp_path: Path) -> None:
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "drift.py").write_text("from nodeport_access import checks", encoding="utf-8")
    (tmp_path / PACKAGE / "checks.py").write_text("from nodeport_access import drift", encoding="utf-8")
    assert offences(tmp_path) in (
        ["imports go in a circle: drift -> checks -> drift"],
        ["imports go in a circle: checks -> drift -> checks"],
    )


def test_no_module_takes_the_name_of_a_standard_one() -> None:
    # Whoever runs a file of the package by its path puts the file's folder first on the path: a queue.py or types.py
    # there would then be everybody's.
    names = {place(module) for module in modules(SOURCE_ROOT)} | {path.stem for path in SOURCE_ROOT.glob("*")}
    assert sorted((names - {"__init__", "__main__"}) & sys.stdlib_module_names) == []


def test_operator_is_a_source_root_and_not_a_package() -> None:
    assert not (SOURCE_ROOT / "__init__.py").exists(), (
        "operator/__init__.py makes a package that hides the standard module `operator` from everything started in "
        "the repository's root, and `python -m pytest` dies in `collections`: remove it"
    )


def standard_operator_from(folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """A new interpreter in the folder, where the folder itself and then `path` come first, uses the standard module."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, "-c", "import collections, operator; print(operator.add(1, 2))"],
        cwd=folder,
        env={**env, "PYTHONPATH": os.pathsep.join(map(str, path))} if path else env,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_standard_operator_wins_with_the_root_and_the_source_root_first_on_the_path() -> None:
    ran = standard_operator_from(ROOT, ROOT, SOURCE_ROOT)
    assert (ran.stdout, ran.returncode) == ("3\n", 0), ran.stderr


def test_it_would_lose_against_a_package_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "operator").mkdir()
    assert standard_operator_from(tmp_path, tmp_path).returncode == 0
    (tmp_path / "operator" / "__init__.py").touch()
    assert standard_operator_from(tmp_path, tmp_path).returncode != 0
