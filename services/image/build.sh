#!/usr/bin/env bash
# The steps of the images' builds, for Dockerfiles and for whoever has no container engine:
#
#   build.sh dependencies LOCK TARGET   a new environment TARGET with what LOCK names, and no more
#   build.sh package TARGET             this package, built here, into TARGET
#
# Every file that is fetched is held against a hash. What comes as source is built with tools that
# were held against one too, never with what a build would fetch by itself.
set -euo pipefail
step=$1
here=$(cd "$(dirname "$0")" && pwd)
tools=${MIEN_BUILD:-/tmp/mien-build}  # the environment that builds; it does not get into the image
python=${PYTHON:-python3}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore

if [ ! -x "$tools/bin/pip" ]; then
  "$python" -m venv "$tools"
  "$tools/bin/pip" install --quiet --require-hashes --requirement "$here/build.txt"
fi

into() { # target, wheels: install exactly these files
  "$tools/bin/pip" --python "$1/bin/python" install --quiet --no-index --no-deps "${@:2}"
}

case $step in
  dependencies)
    lock=$2 target=$3
    wheels=$(mktemp -d)
    PATH="$tools/bin:$PATH" "$tools/bin/pip" wheel --quiet --require-hashes --no-deps \
      --no-build-isolation --wheel-dir "$wheels" --requirement "$lock"
    "$python" -m venv --without-pip "$target"
    into "$target" "$wheels"/*.whl
    rm -rf "$wheels"
    ;;
  package)
    target=$2
    dist=$(mktemp -d)
    PATH="$tools/bin:$PATH" "$tools/bin/pip" wheel --quiet --no-deps --no-build-isolation --no-index \
      --wheel-dir "$dist" .
    into "$target" "$dist"/*.whl
    rm -rf "$dist"
    ;;
  *)
    echo "build.sh: unknown step $step; dependencies or package" >&2
    exit 2
    ;;
esac
"$tools/bin/pip" --python "$target/bin/python" check
