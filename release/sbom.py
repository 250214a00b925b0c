"""The list of what the image holds beside its base, with versions, licences and who needs what, as CycloneDX:
`python -m release.sbom` puts it into dist/.

It is read off an installation by the image's own script, so it cannot list what is not there. It has neither a serial
number nor a time of its own: the same commit gives the same list. cyclonedx-py holds it against CycloneDX's schema.

Not its business: the base image, whose packages a scanner of images lists.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from release.dist import ROOT, commit_time, export, write_sums
from release.version import current

SPEC_VERSION = "1.6"


def write(*, installation: Path, pyproject: Path, target: Path, epoch: int) -> None:
    """Writes the list of what a virtual environment holds, as needed by a project. Raises
    subprocess.CalledProcessError, also where the list is not valid."""
    command: list[str | Path] = [
        Path(sys.executable).with_name("cyclonedx-py"),
        "environment",
        *("--pyproject", pyproject, "--spec-version", SPEC_VERSION, "--output-reproducible", "--validate"),
        *("--output-file", target, installation / "bin" / "python"),
    ]
    subprocess.run(command, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}, check=True)


def main() -> None:
    """Of the commit that is checked out."""
    target = ROOT / "dist" / f"nodeport-access-operator-{current()}.cdx.json"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sbom-") as temporary:
        tree, installation = Path(temporary) / "tree", Path(temporary) / "installation"
        export(ROOT, "HEAD", tree)
        # Nobody will start what is installed here.
        environment = {**os.environ, "PIP_COMPILE": "0"}
        subprocess.run([tree / "image" / "install.sh", installation, sys.executable], env=environment, check=True)
        epoch = commit_time(ROOT, "HEAD")
        write(installation=installation, pyproject=tree / "pyproject.toml", target=target, epoch=epoch)
    write_sums(target.parent)
    print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
