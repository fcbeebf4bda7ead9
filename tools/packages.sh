#!/usr/bin/env bash
# The system packages that building and testing need: `packages.sh list` prints them, `packages.sh
# missing` those that are not installed, `packages.sh install [build|all]` installs them (as root) or
# prints the command that does. "build" is enough for the program and its tests, "all" adds what
# .ci/run checks with.
set -euo pipefail

# Debian 12 has Boost 1.81 beside its default 1.74, Ubuntu 24.04 has 1.83. Not asked of apt, which
# knows no package before its first update.
boost() { if (. /etc/os-release && [ "$ID$VERSION_ID" = debian12 ]); then echo libboost1.81-dev; else echo libboost-dev; fi; }

build_packages() {
  echo g++ cmake ninja-build pkg-config python3 libgtest-dev libbenchmark-dev "$(boost)" nlohmann-json3-dev \
    libcli11-dev libfmt-dev libpcre2-dev libutf8proc-dev libxxhash-dev libedit-dev python3-venv
}
check_packages() { echo clang clang-format-14 clang-tidy-14 libclang-rt-14-dev ccache; }

missing() {
  local name
  for name in "$@"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed' || echo "$name"
  done
}

main() {
  command -v dpkg-query >/dev/null || exit 0  # not Debian or Ubuntu: CMake names what it cannot find
  local wanted
  case "${2:-build}" in
    all) wanted="$(build_packages) $(check_packages)" ;;
    *) wanted="$(build_packages)" ;;
  esac
  case "${1:-}" in
    list) echo "$wanted" ;;
    missing) missing $wanted | paste -sd' ' ;;
    install)
      local need
      need=$(missing $wanted | paste -sd' ')
      [ -z "$need" ] && exit 0
      if [ "$(id -u)" -ne 0 ]; then
        echo "krasis: system packages are missing; install them as root, or with: sudo sh -c 'apt-get update && apt-get install -y $need'" >&2
        exit 2
      fi
      echo "krasis: installing system packages: $need" >&2
      apt-get update -qq >&2  # a fresh image has no package lists
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need >&2
      ;;
    *) echo "usage: packages.sh list|missing|install [build|all]" >&2; exit 2 ;;
  esac
}
main "$@"
