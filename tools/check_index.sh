#!/bin/sh
# Checks that the package index answers, before anything is installed from it. Argument: the Python whose pip will ask.
set -u

[ -n "${PIP_NO_INDEX:-}" ] && exit 0  # a folder takes its place
said=$("$1" -m pip --quiet --disable-pip-version-check --retries 1 --timeout 15 index versions pyspark 2>&1 >/dev/null) || {
    echo "error: the package index does not answer ($(echo "$said" | tail -n 1)). Connect to the network, or name an index that can be reached: export PIP_INDEX_URL=..." >&2
    exit 1
}
