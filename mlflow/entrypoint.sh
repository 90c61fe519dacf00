#!/bin/sh
# Start the tracking server: the address of its database comes from a file, so that it stands in no
# manifest and in no list of processes. What is given on the command line goes to `mlflow server`.
#
#   MIEN_MLFLOW_BACKEND_FILE  file with one line, SQLAlchemy's URL: postgresql://user:password@host/db
#   MIEN_MLFLOW_ARTIFACTS     where artefacts go through the server: s3://bucket/prefix, or a folder
#   MIEN_MLFLOW_PORT          that `mien-mlflow probe` asks; 5000
set -eu

refuse() { # reason, hint
  echo "mlflow: $1" >&2
  echo "  $2" >&2
  exit 2
}

if [ "${1:-}" = probe ]; then
  exec python -c 'import sys, urllib.request as u; u.urlopen("http://127.0.0.1:" + sys.argv[1] + "/health", timeout=10)' \
    "${MIEN_MLFLOW_PORT:-5000}"
fi

file=${MIEN_MLFLOW_BACKEND_FILE:-}
[ -n "$file" ] || refuse "MIEN_MLFLOW_BACKEND_FILE is not set" "name the file that holds the database's URL"
[ -r "$file" ] || refuse "$file cannot be read" "mount the secret there, readable for user $(id -u)"
[ -n "${MIEN_MLFLOW_ARTIFACTS:-}" ] || refuse "MIEN_MLFLOW_ARTIFACTS is not set" "name a bucket, s3://…, or a folder"

read -r url < "$file" || true  # a last line without an end is a line as well
[ -n "${url:-}" ] || refuse "$file is empty" "write the database's URL into it"
case $url in  # psycopg 3 is what is installed here
  postgresql://*) url=postgresql+psycopg://${url#postgresql://} ;;
  postgres://*) url=postgresql+psycopg://${url#postgres://} ;;
esac
export MLFLOW_BACKEND_STORE_URI="$url"
export MLFLOW_ARTIFACTS_DESTINATION="$MIEN_MLFLOW_ARTIFACTS"
exec mlflow server "$@"
