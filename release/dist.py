"""sdist and wheel of the commit that is checked out, the same to the byte whenever and wherever they are built:
`python -m release.dist` puts them into dist/, with SHA256SUMS.

What is built is the commit, not the folder: what is not committed is not in it. The wheel is built from the sdist, so
whoever has that has all it takes. setuptools dates the wheel by SOURCE_DATE_EPOCH (reproducible-builds.org), but not
the sdist, which is packed anew. The same Python and the same zlib are taken for granted.

Not its business: what the image holds besides (`release.sbom`).
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build(*, root: Path, commit: str, out: Path) -> list[Path]:
    """Builds sdist and wheel of a commit of the repository at `root` into the folder `out`; their paths, sdist first.

    Raises subprocess.CalledProcessError with git's or the build's own words on standard error.
    """
    out.mkdir(parents=True, exist_ok=True)
    epoch = commit_time(root, commit)
    # Also for what the build itself writes: whoever builds may have any umask.
    before = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix="dist-") as temporary:
            tree, sdists, unpacked = (Path(temporary) / name for name in ("tree", "sdists", "unpacked"))
            export(root, commit, tree)
            _pep517(tree, "--sdist", out=sdists, epoch=epoch)
            (made,) = sdists.iterdir()
            sdist = out / made.name
            repack(made, sdist, epoch=epoch)
            with tarfile.open(sdist) as archive:
                archive.extractall(unpacked, filter="data")
            (source,) = unpacked.iterdir()
            wheels = Path(temporary) / "wheels"
            _pep517(source, "--wheel", out=wheels, epoch=epoch)
            (made,) = wheels.iterdir()
            wheel = out / made.name
            wheel.write_bytes(made.read_bytes())
    finally:
        os.umask(before)
    return [sdist, wheel]


def commit_time(root: Path, commit: str) -> int:
    """When the commit was made, in seconds since 1970."""
    told = subprocess.run(
        ["git", "log", "-1", "--format=%ct", commit], cwd=root, check=True, stdout=subprocess.PIPE, text=True
    )
    return int(told.stdout)


def export(root: Path, commit: str, tree: Path) -> None:
    """The files of a commit in a new folder, and nothing else."""
    tree.mkdir()
    archive = subprocess.run(
        ["git", "-c", "tar.umask=0022", "archive", "--format=tar", commit], cwd=root, check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)


def repack(sdist: Path, target: Path, *, epoch: int) -> None:
    """The same files in the same archive format, without anything that tells when, where and by whom it was packed."""
    with (
        tarfile.open(sdist) as old,
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, epoch
            plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(plain, old.extractfile(member) if member.isfile() else None)


def _pep517(source: Path, what: str, *, out: Path, epoch: int) -> None:
    """By the locked setuptools (--no-isolation). What it prints is of interest only where it fails."""
    command = [sys.executable, "-m", "build", "--no-isolation", what, "--outdir", str(out), str(source)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    ran = subprocess.run(
        command, cwd=source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if ran.returncode:
        print(ran.stdout, file=sys.stderr)
        ran.check_returncode()


def write_sums(folder: Path) -> None:
    """SHA256SUMS of every file of a folder, for `sha256sum --check`."""
    files = sorted(file for file in folder.iterdir() if file.name != "SHA256SUMS")
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")


if __name__ == "__main__":
    built = build(root=ROOT, commit="HEAD", out=ROOT / "dist")
    write_sums(ROOT / "dist")
    print("\n".join(str(path.relative_to(ROOT)) for path in built))
