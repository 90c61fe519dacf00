#!/usr/bin/env bash
# Write the locks of the images anew: constraints.txt's versions, with the hash of every file.
# Torch for processors alone is not on the public index: where uv shall find it is for
# UV_FIND_LINKS or UV_INDEX to say; the lock of `cuda` is made without them.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=${UV:-.tools/bin/uv}
[ -x "$uv" ] || { echo "$uv is not there; run: make tools, or set UV" >&2; exit 2; }

compile() { # output, then what uv shall read
  local out=$1; shift
  "$uv" pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 \
    --constraint constraints.txt --output-file "$out.new" "$@"
  mv "$out.new" "$out"
  echo "$out: $(grep -c == "$out") packages"
}
linux=(--python-platform x86_64-manylinux_2_28)
extras=(--extra postgres)

compile services/image/build.txt services/image/build-requirements.in
compile services/image/cpu.txt "${linux[@]}" "${extras[@]}" pyproject.toml
env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL \
  bash -c "$(declare -f compile); uv='$uv'; set -euo pipefail; compile services/image/cuda.txt ${linux[*]} ${extras[*]} pyproject.toml"
compile mlflow/requirements.txt "${linux[@]}" mlflow/requirements.in
# Theirs is a world of its own: no constraints, any platform.
"$uv" pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
  --output-file k8s/check/requirements.txt k8s/check/requirements.in
