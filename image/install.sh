#!/bin/sh
# Install the operator into a new virtual environment: exactly the locked versions, hashes checked, nothing else.
#
#   image/install.sh TARGET [PYTHON]
#
# The Dockerfile runs it, and so does tests/image, where no container engine is needed.
set -eu

target=${1:?usage: image/install.sh TARGET [PYTHON]}
python=${2:-python3}
cd "$(dirname "$0")/.."

"$python" -m venv --without-pip "$target"
into_target() {
    command=$1
    shift
    "$python" -m pip --python "$target" --quiet --disable-pip-version-check --no-input "$command" "$@"
}
# Wheels only: a source distribution would run code of its own, with build tools that no lock names.
into_target install --require-hashes --only-binary :all: --requirement requirements/runtime.lock
into_target install --no-deps --no-build-isolation .
# What built the project is not needed by what runs.
into_target uninstall --yes setuptools
