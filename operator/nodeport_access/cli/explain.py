"""``explain``: may this address reach this Service, through which node, by which rule.

Not the business of this module: the answer (``explaining``).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from nodeport_access.cli.knowledge import knowledge_options
from nodeport_access.cli.options import Source, source_options
from nodeport_access.cli.output import Output, output_options
from nodeport_access.cli.program import FAILED
from nodeport_access.cli.subject import planned_option, subject_of
from nodeport_access.cli.terminal import Progress

if TYPE_CHECKING:
    from nodeport_access.evaluate import Known
    from nodeport_access.explaining import Explanation

WAYS = ("node-port", "external-ip", "load-balancer", "cluster-address", "pod-address")


@click.command("explain")
@click.argument("service", metavar="[NAMESPACE/]SERVICE")
@click.option("--from", "who", metavar="ADDRESS|NAMESPACE/POD", help="Who asks; without it, all who get in are told.")
@click.option("--node", default="", metavar="NODE", help="Through this node only.")
@click.option("--port", default="", metavar="NAME|NUMBER", help="This port of the Service only.")
@click.option("--by", type=click.Choice(WAYS), multiple=True, help="By this way only; may be given more than once.")
@click.option(
    "--expect",
    type=click.Choice(("through", "refused")),
    help="Exit with 1 unless he gets in somewhere for sure (through), or nowhere for sure (refused). Needs --from.",
)
@source_options
@planned_option
@knowledge_options
@output_options(default="table")
def explain(
    *,
    service: str,
    who: str | None,
    node: str,
    port: str,
    by: tuple[str, ...],
    expect: str | None,
    source: Source,
    planned: bool | None,
    known: Known,
    output: Output,
) -> None:
    """Tell whether an address or a pod may reach a Service, and by which rule.

    For each way in and each node: through, refused, or what it depends on, with every step; and what each rule of each
    NetworkPolicy that selects the pods says to this client. It speaks of new connections.

    \b
    Exit codes: 0  whatever the answer is
                1  it is not what --expect says
                2  wrong use, unreadable files, no access to the cluster, nothing of that name
    """
    from nodeport_access.api import ServiceKey
    from nodeport_access.cli.explanation import show, show_all
    from nodeport_access.explaining import By, Explanation, NotThere, ask, explain_all, find_client
    from nodeport_access.explaining import explain as explained
    from nodeport_access.explaining.document import document

    if expect and who is None:
        raise click.UsageError("--expect holds the answer to one client against it: give --from too.")
    namespace, slash, name = service.partition("/")
    if not slash:
        namespace, name = source.namespace or "default", service
    if source.namespace and namespace != source.namespace:
        raise click.UsageError(f"-n {source.namespace} and {service} name two namespaces; leave one out.")
    subject = subject_of(_scope(source), planned=planned, now=datetime.now(UTC))
    assumed = tuple(unknown.sentence(*sorted(options)) for unknown, options in known.items())
    try:
        asked = ask(subject.inventory, ServiceKey(namespace, name), port=port, node=node, by=[By(each) for each in by])
        asker = find_client(subject.inventory, who) if who is not None else None
    except NotThere as error:
        raise click.ClickException(str(error)) from error
    with Progress() as progress:
        progress.say("judging connections")
        found = explained(asked, asker, known=known) if asker else explain_all(subject.inventory, asked, known=known)
    if output.format != "table":
        output.document(document(found, source=subject.source, assumed=assumed))
    else:
        if isinstance(found, Explanation):
            show(output, found)
        else:
            show_all(output, found)
        taken = f" Taken for granted: {'; '.join(assumed)}." if assumed else ""
        output.line(f"It speaks of new connections. Made of {subject.source}.{taken}")
    if expect and isinstance(found, Explanation) and not _is_as_expected(found, expect):
        click.echo(f"--expect {expect}: it is not so.", err=True)
        sys.exit(FAILED)


def _scope(source: Source) -> Source:
    """On a cluster, the client's pod may be anywhere: who names no namespace by -n looks at all."""
    return source if source.files or source.namespace else replace(source, all_namespaces=True)


def _is_as_expected(found: Explanation, expect: str) -> bool:
    from nodeport_access.evaluate import Answer

    return Answer.THROUGH in found.found if expect == "through" else found.found == {Answer.REFUSED}
