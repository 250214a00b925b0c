"""The command line: `python -m testbed build | up | down | status`.

Exit codes: 0, or 1 with one sentence on standard error, 2 for a wrong command line, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from testbed import playground
from testbed.failure import Failure
from testbed.programs import find
from testbed.waiting import TimedOut


def main(words: list[str]) -> int:
    """Carry out one command, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed", description="A real Kubernetes API server, right here.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("build", help="find the real programs, or build them with Go (once; about 20 minutes)")
    commands.add_parser("up", help="start a control plane with the operator and a sample, in the background")
    commands.add_parser("down", help="end what `up` started")
    commands.add_parser("status", help="say what runs")
    commands.add_parser("serve").add_argument("folder", type=Path)  # what `up` starts; without `help` it is not listed
    arguments = parser.parse_args(words)
    try:
        match arguments.command:
            case "build":
                programs = find()
                print(f"{', '.join(programs.paths)}: {programs.origin}")
            case "up":
                playground.up(say=print)
            case "down":
                playground.down(say=print)
            case "status":
                playground.status(say=print)
            case "serve":
                playground.serve(folder=arguments.folder)
    except (Failure, TimedOut) as failed:
        print(failed, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `... status | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
