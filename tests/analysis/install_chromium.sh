#!/bin/sh
# Brings Chromium for the report's proofs, where that can be: as root, with Debian's packages.
# Elsewhere it says what to do; the proofs that need it are then skipped, with the reason.
set -u
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Chromium for the report's proofs"
    export DEBIAN_FRONTEND=noninteractive
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; then
        exit 0
    fi
fi
echo "no Chromium is here: install one (Debian: apt-get install chromium) to run its proofs" >&2
