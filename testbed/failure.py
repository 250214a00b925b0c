"""What can go wrong in here. The message of each is a sentence for a person, and the command line prints just that.

Failure
├── ProgramsUnavailable    the real programs are not here and cannot be built        building
├── ProcessFailed          a program could not be executed                           processes
├── NoFreePorts            every port is taken                                       ports
├── FolderInUse            something runs in this folder already                    running
├── ControlPlaneFailed     one of its programs ended or did not become ready         control_plane
├── ForeignKubeconfig      the harness touches no cluster but its own                control_plane
├── KubectlFailed          kubectl ended with another code than 0                    kubectl
├── ApiUnavailable         the API server did not answer                             api_client
├── Refused                the API server answered, and said no                      cluster
├── OperatorFailed         the operator ended, or was not ready or gone in time      operator_process
└── NotUp                  what `up` started is not there, or did not come up        playground
TimedOut (AssertionError)  something awaited did not come about in time              waiting
"""

from __future__ import annotations


class Failure(Exception):  # noqa: N818 - the names below say what failed, as a test's output should
    """Base of every failure of the testbed."""
