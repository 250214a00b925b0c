"""The command line: `python -m testbed build | up | lab | down | status`.

Exit codes: 0, or 1 with one sentence on standard error, 2 for a wrong command line, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from testbed import chromium, playground, prometheus
from testbed.failure import Failure
from testbed.lab import machine, standing
from testbed.programs import CONTROL_PLANE, ORACLES, TOOLS, find, unavailable, unavailable_assets
from testbed.waiting import TimedOut


def main(words: list[str]) -> int:
    """Carry out one command, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m testbed", description="A real Kubernetes API server, right here.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="find the real programs, or build them with Go (once; about 20 minutes)")
    which = build.add_mutually_exclusive_group()
    which.add_argument("--lab", action="store_true", help="those of the dataplane lab as well")
    which.add_argument("--oracles", action="store_true", help="only the evaluators that ours is held against")
    commands.add_parser("up", help="start a control plane with the operator and a sample, in the background")
    lab = commands.add_parser("lab", help="start the dataplane lab with the operator on it, in the background")
    standing.add_arguments(lab)
    commands.add_parser("down", help="end what `up` or `lab` started")
    commands.add_parser("status", help="say what runs")
    commands.add_parser("can-lab", help="say why this machine cannot run the lab; exit code 0 if it can")
    commands.add_parser("can-oracles", help="say why there are no evaluators to compare with; exit code 0 if there are")
    commands.add_parser("can-browser", help="say why there is no browser for tests; exit code 0 if there is")
    commands.add_parser("can-monitor", help="say why there is no Prometheus for tests; exit code 0 if there is")
    serve = commands.add_parser("serve")  # what `up` and `lab` start; without `help` it is not listed
    serve.add_argument("folder", type=Path)
    serve.add_argument("ground")
    serve.add_argument("arguments", nargs=argparse.REMAINDER)
    arguments = parser.parse_args(words)
    try:
        match arguments.command:
            case "build":
                names = ORACLES if arguments.oracles else standing.PROGRAMS if arguments.lab else CONTROL_PLANE
                for wanted in (names, TOOLS) if names == CONTROL_PLANE else (names,):
                    programs = find(wanted)
                    print(f"{', '.join(programs.paths)}: {programs.origin}")
            case "up":
                playground.up(say=print)
            case "lab":
                words = [f"--mode={arguments.mode}", f"--placement={arguments.placement}"]
                playground.up(say=print, ground=playground.LAB, arguments=words)
            case "can-lab":
                if unable := machine.missing() or unavailable_assets(standing.PROGRAMS, environment=os.environ):
                    print(unable)
                    return 1
            case "can-oracles":
                if unable := unavailable(ORACLES, environment=os.environ):
                    print(unable)
                    return 1
            case "can-browser":
                if unable := chromium.missing():
                    print(unable)
                    return 1
            case "can-monitor":
                if unable := prometheus.missing():
                    print(unable)
                    return 1
            case "down":
                playground.down(say=print)
            case "status":
                playground.status(say=print)
            case "serve":
                playground.serve(folder=arguments.folder, ground=arguments.ground, arguments=arguments.arguments)
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
