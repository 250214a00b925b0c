"""``completion``: the script by which a shell completes the commands, and what kubectl asks for when it completes the
plugin.

Not the business of this module: what there is to complete, which click knows from the commands.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from nodeport_access.cli.program import COMPLETION_VARIABLE, PLUGIN, PROGRAM

SHELLS = ("bash", "zsh", "fish")
_NO_FILES, _FILES = 4, 0
"""Cobra's directives to the shell, which kubectl passes on (github.com/spf13/cobra, ``ShellCompDirective``)."""


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  source <(nodeport-access completion bash)
    zsh:   source <(nodeport-access completion zsh)
    fish:  nodeport-access completion fish | source

    It completes nodeport-access and kubectl-npap. For `kubectl npap`, the completion of kubectl asks the program
    kubectl_complete-npap, which is installed along with it.
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click has all of them"
    for name in (PROGRAM, PLUGIN):
        click.echo(kind(ctx.find_root().command, {}, name, COMPLETION_VARIABLE).source())


def answer_to_kubectl(group: click.Command, words: Sequence[str]) -> str:
    """What completes the last of these words, in the form in which kubectl asks its plugins for it."""
    *before, incomplete = words or [""]
    found = _Asked(group, {}, PROGRAM, COMPLETION_VARIABLE).get_completions(before, incomplete)
    named = [item for item in found if item.type == "plain"]
    lines = [f"{item.value}\t{item.help}" if item.help else str(item.value) for item in named]
    return "\n".join([*lines, f":{_NO_FILES if named or not found else _FILES}"])


class _Asked(ShellComplete):
    """Only what click finds; kubectl brings the words and prints the answer."""

    name = "kubectl"

    def format_completion(self, item: CompletionItem) -> str:
        return str(item.value)
