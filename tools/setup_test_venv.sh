#!/usr/bin/env bash
# The Python environment of the end-to-end tests: the official openai client, in build/test-venv.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=build/test-venv
[ -e "$venv/ready" ] && exit 0
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check openai
touch "$venv/ready"
