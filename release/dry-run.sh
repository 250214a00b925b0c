#!/bin/sh
# All of a release but what leaves this machine: make release-dry-run. docs/releasing.md says what comes after.
#
# Two clones of the commit that is checked out, in two folders, with two environments of their own: what is built in
# them has to be the same to the byte.
set -eu
cd "$(dirname "$0")/.."

if [ -n "$(git status --porcelain)" ]; then
    echo "not committed, so no part of this: $(git status --porcelain | tr '\n' ' ')" >&2
fi
commit=$(git rev-parse HEAD)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM

step() {
    echo "--- $*"
}

for name in one another; do
    git clone --quiet --no-local . "$folder/$name"
    git -C "$folder/$name" checkout --quiet --detach "$commit"
done

cd "$folder/one"
step "the version is the same everywhere, and the changelog has its heading"
make --no-print-directory version
step "style, types, Dockerfile"
make --no-print-directory lint
step "unit tests"
make --no-print-directory test-unit
for name in one another; do
    step "sdist, wheel and SBOM in $folder/$name"
    cd "$folder/$name"
    make --no-print-directory dist sbom
    (cd dist && sha256sum --check --quiet SHA256SUMS)
done
step "both are the same"
diff -r "$folder/one/dist" "$folder/another/dist"
step "the wheel installs and runs"
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check --no-input install --no-compile --require-hashes \
    --only-binary :all: --requirement "$folder/one/requirements/runtime.lock"
"$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check --no-input install --no-deps "$folder"/one/dist/*.whl
(cd "$folder" && "$folder/venv/bin/nodeport-access" --version && "$folder/venv/bin/nodeport-access" demo >/dev/null)

step "what would be released of $commit"
cat "$folder/one/dist/SHA256SUMS"
