#!/usr/bin/env bash
# Lints and formats proto/ with buf and compares it with the main branch. Without buf, without npm,
# or without network it says SKIPPED and why; CHECK_STRICT=1 makes that fail.
set -u -o pipefail
cd "$(dirname "$0")/.."
version=1.75.0
main=${PROTO_MAIN:-}

skipped() { # name, reason
  echo "SKIPPED $1: $2"
  [ -z "${CHECK_STRICT:-}" ] || { echo "CHECK_STRICT is set: that is a failure" >&2; exit 1; }
}

if command -v buf >/dev/null; then
  buf=(buf)
elif ! command -v npx >/dev/null; then
  skipped buf "neither buf nor npx is on the PATH"
  exit 0
else
  buf=(npx --yes "@bufbuild/buf@$version")
  if ! said=$(timeout 60 "${buf[@]}" --version 2>&1); then
    skipped buf "npx cannot fetch @bufbuild/buf@$version: $(tail -1 <<<"$said")"
    exit 0
  fi
fi

failed=0
"${buf[@]}" lint || failed=1
"${buf[@]}" format --diff --exit-code || failed=1

# The branch to compare with: what is named, else the remote's main, else the local one.
if [ -z "$main" ]; then
  for each in origin/main main; do
    git rev-parse --quiet --verify "$each^{commit}" >/dev/null 2>&1 && { main=$each; break; }
  done
fi
if [ -z "$main" ]; then
  skipped "buf breaking" "there is no main branch here to compare with"
elif [ -z "$(git ls-tree "$main" proto/mien 2>/dev/null)" ]; then
  skipped "buf breaking" "$main has no proto/ yet"
elif ! before=$(mktemp -d) || ! git archive "$main" proto | tar -x -C "$before"; then
  skipped "buf breaking" "$main cannot be read from this clone"
else
  "${buf[@]}" breaking --against "$before/proto" || failed=1
fi
[ -z "${before:-}" ] || rm -rf "$before"
exit "$failed"
