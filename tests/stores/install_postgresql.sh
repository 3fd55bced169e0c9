#!/bin/sh
# Brings PostgreSQL's server for the proofs, where that can be: as root, with Debian's packages.
# Elsewhere it says what to do; the proofs that need a server are then skipped, with the reason.
set -u
if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing PostgreSQL's server for the proofs"
    export DEBIAN_FRONTEND=noninteractive
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null; then
        exit 0
    fi
fi
echo "no PostgreSQL server is here: install one (Debian: apt-get install postgresql) to run its proofs" >&2
