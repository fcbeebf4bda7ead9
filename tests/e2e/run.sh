#!/usr/bin/env bash
# Runs a Python test with the environment that holds the openai client.
set -u
python="$(dirname "$0")/../../build/test-venv/bin/python"
if [ ! -x "$python" ]; then
  echo "skipped: no build/test-venv; make it with tools/setup_test_venv.sh"
  exit 77
fi
exec "$python" "$@"
