#!/usr/bin/env bash
# Write the locks of the images anew: constraints.txt's versions, with the hash of every file.
# Torch for processors alone is not on the public index: where it lies is for UV_FIND_LINKS or
# UV_INDEX to say; the lock of `cuda` is made without them.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=${UV:-.tools/bin/uv}
[ -x "$uv" ] || { echo "$uv is not there; run: make tools, or set UV" >&2; exit 2; }
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

compile() { # lock, then what uv shall read
  "$uv" pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 \
    --output-file "$new/${1//\//-}" "${@:2}"
  echo "$1: $(grep -c == "$new/${1//\//-}") packages"
}
ours=(--constraint constraints.txt)
image=("${ours[@]}" --python-platform x86_64-manylinux_2_28)
locks=(services/image/{build,cpu,cuda}.txt mlflow/requirements.txt k8s/check/requirements.txt)

compile services/image/build.txt "${ours[@]}" services/image/build-requirements.in
compile services/image/cpu.txt "${image[@]}" --extra postgres pyproject.toml
if grep -q '^nvidia-' "$new/services-image-cpu.txt"; then
  echo "torch for processors alone was not found: set UV_FIND_LINKS or UV_INDEX to where it lies" >&2
  exit 2
fi
(
  unset UV_FIND_LINKS UV_INDEX UV_EXTRA_INDEX_URL
  compile services/image/cuda.txt "${image[@]}" --extra postgres pyproject.toml
)
compile mlflow/requirements.txt "${image[@]}" mlflow/requirements.in
# The tools are a world of their own: no constraints, any platform.
compile k8s/check/requirements.txt --universal k8s/check/requirements.in

for lock in "${locks[@]}"; do
  cp "$new/${lock//\//-}" "$lock"
done
