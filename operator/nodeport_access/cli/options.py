"""The options that the commands share, and the inventory that they come to.

Not the business of this module: how objects are read (``inventory``), and what is printed (``output``).
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nodeport_access.cli.terminal import Progress

if TYPE_CHECKING:
    from nodeport_access.inventory import Inventory

F = TypeVar("F", bound=Callable[..., Any])

HOME_KUBECONFIG = "~/.kube/config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where objects are to come from. ``namespace`` is empty where none was named."""

    files: tuple[str, ...] = ()
    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    all_namespaces: bool = False

    @property
    def names_cluster(self) -> bool:
        """Whether a flag points to a cluster."""
        return bool(self.kubeconfig or self.context)


def source_options(command: F) -> F:
    """``-f``, ``--kubeconfig``, ``--context``, ``-n``, ``-A``; the command gets them as ``source``."""

    @functools.wraps(command)
    def taking(
        *args: Any,
        files: tuple[str, ...],
        kubeconfig: str | None,
        context: str | None,
        namespace: str | None,
        all_namespaces: bool,
        **rest: Any,
    ) -> Any:
        if namespace and all_namespaces:
            raise click.UsageError("give -n or -A, not both.")
        source = Source(
            files=files,
            kubeconfig=kubeconfig or "",
            context=context or "",
            namespace=namespace or "",
            all_namespaces=all_namespaces,
        )
        return command(*args, source=source, **rest)

    for option in reversed(_OPTIONS):
        taking = option(taking)
    return taking  # type: ignore[return-value]  # as any decorator of click: another signature, the same use


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "-f",
        "--filename",
        "files",
        type=click.Path(allow_dash=True),
        multiple=True,
        metavar="PATH",
        help="A file, a folder with all in it, or - for standard input; may be given more than once. Without it the"
        " cluster is asked.",
    ),
    click.option(
        "--kubeconfig",
        type=click.Path(),
        metavar="FILE",
        help=f"Kubeconfig; else $KUBECONFIG, then {HOME_KUBECONFIG}, then the pod's service account.",
    ),
    click.option("--context", metavar="NAME", help="Context of the kubeconfig; else its current context."),
    click.option(
        "-n",
        "--namespace",
        metavar="NS",
        help="Namespace to look at, and that of objects in files which name none; else the context's, or default.",
    ),
    click.option("-A", "--all-namespaces", is_flag=True, help="Look at all namespaces of the cluster."),
)


def from_files(paths: tuple[str, ...], *, namespace: str) -> Inventory:
    """The objects of these files. Raises ClickException."""
    from nodeport_access.inventory import InputError, read

    with Progress() as progress:
        progress.say("reading files")
        try:
            inventory = read(paths, namespace=namespace or "default")
        except InputError as error:
            raise click.ClickException(str(error)) from error
    tell_notes(inventory)
    return inventory


def from_cluster(source: Source, *, also: Collection[str] = (), may_lack: Collection[str] = ()) -> Inventory:
    """The objects of the cluster: those of all namespaces, or of the one named and ``also`` of these. Raises
    ClickException."""
    from nodeport_access.inventory import ClusterError
    from nodeport_access.kube import ConfigurationError

    with Progress() as progress:
        progress.say("asking the cluster")
        try:
            inventory = asyncio.run(_fetched(source, also=also, may_lack=may_lack, progress=progress))
        except (ClusterError, ConfigurationError) as error:
            raise click.ClickException(str(error)) from error
    tell_notes(inventory)
    return inventory


def inventory_of(source: Source) -> Inventory:
    """The objects of the files where there are any, else of the cluster. Raises ClickException."""
    if source.files and source.names_cluster:
        raise click.UsageError("give -f, or --context and --kubeconfig; this command looks at files or at a cluster.")
    return from_files(source.files, namespace=source.namespace) if source.files else from_cluster(source)


def tell_notes(inventory: Inventory) -> None:
    """What was passed over goes to standard error."""
    for note in inventory.notes:
        click.echo(note, err=True)


async def _fetched(
    source: Source, *, also: Collection[str], may_lack: Collection[str], progress: Progress
) -> Inventory:
    import functools

    from nodeport_access.inventory import fetch
    from nodeport_access.kube import Client, context_namespace, load_configuration

    kubeconfig = source.kubeconfig or _home_kubeconfig()
    load = functools.partial(
        load_configuration, kubeconfig=kubeconfig, context=source.context or None, environ=os.environ
    )
    client = Client(
        configuration=await load(),
        load=load,
        observer=lambda _verb, plural, _status, _seconds: progress.say(f"asking the cluster, {plural} came last"),
    )
    namespaces: list[str] = []
    if not source.all_namespaces:
        given = source.namespace or (
            "" if also else context_namespace(kubeconfig=kubeconfig, context=source.context or None, environ=os.environ)
        )
        namespaces = sorted({*also, *([given] if given else [])})
    try:
        return await fetch(client, namespaces=namespaces, may_lack=may_lack)
    finally:
        await client.close()


def _home_kubeconfig() -> str | None:
    """What kubectl reads where nobody names a file; None where it is not there, or $KUBECONFIG names others."""
    path = Path(HOME_KUBECONFIG).expanduser()
    return str(path) if not os.environ.get("KUBECONFIG") and path.is_file() else None
