#!/bin/bash
# One report of everything that needs a GPU: the gpu tests, the same under compute-sanitizer, and
# the kernels' rates. It needs only the programs of a build with -DKRASIS_CUDA=ON
# -DKRASIS_BENCH=ON, so that their folder can be carried to a machine that has a GPU.
#   tools/gpu-report.sh [-t tests|memcheck|racecheck|rates]... [PROGRAMS [REPORT]]
# PROGRAMS: folder with the programs (build/bin); REPORT: file to write (gpu-report.txt).
# COMPUTE_SANITIZER: the sanitizer, if it is not on the PATH.
# SANITIZER_FILTER: --gtest_filter of the tests run under it (all).
# BENCH_OPTIONS: options of bench_cuda. STEP_SECONDS: limit of one program's run (1800).
# Exits with 1 if a test failed, the sanitizer found something or a program could not be run.
set -u

steps=()
while getopts t: option; do
  case $option in
    t) steps+=("$OPTARG") ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ ${#steps[@]} -gt 0 ] || steps=(tests memcheck racecheck rates)
programs=${1:-build/bin}
report=${2:-gpu-report.txt}
sanitizer=${COMPUTE_SANITIZER:-$(command -v compute-sanitizer)}
limit=${STEP_SECONDS:-1800}
failed=0
shopt -s nullglob
tests=("$programs"/test_gpu_*)

fail() {
  echo "FAILED: $1"
  failed=1
}

# run TITLE COMMAND...: the whole output if it fails, the last lines if not.
run() {
  local title=$1 output start=$SECONDS
  shift
  output=$(timeout "$limit" "$@" 2>&1)
  local status=$?
  if [ $status -eq 0 ]; then
    tail -n 6 <<<"$output"
  else
    echo "$output"
    fail "$title (status $status)"
  fi
  echo "$title: $((SECONDS - start)) s"
}

under_sanitizer() {
  local tool=$1 test
  if [ -z "$sanitizer" ]; then
    fail "$tool: no compute-sanitizer found, set COMPUTE_SANITIZER"
    return
  fi
  for test in "${tests[@]}"; do
    run "$tool $(basename "$test")" "$sanitizer" --tool "$tool" --error-exitcode 9 \
      "$test" --gtest_brief=1 --gtest_filter="${SANITIZER_FILTER:-*}"
  done
}

make_report() {
  echo "# GPU report"
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader ||
    fail "no GPU"
  [ ${#tests[@]} -gt 0 ] || fail "no test_gpu_* in $programs"
  local step test
  for step in "${steps[@]}"; do
    printf '\n## %s\n' "$step"
    case $step in
      tests)
        for test in "${tests[@]}"; do
          run "$(basename "$test")" "$test" --gtest_brief=1
        done
        ;;
      memcheck | racecheck) under_sanitizer "$step" ;;
      rates)
        # shellcheck disable=SC2086
        timeout "$limit" "$programs/bench_cuda" ${BENCH_OPTIONS:-} || fail "bench_cuda"
        ;;
      *) fail "unknown step $step" ;;
    esac
  done
  printf '\n'
  [ $failed -eq 0 ] && echo "everything passed"
  return $failed
}

make_report > >(tee "$report") 2>&1
status=$?
wait
exit $status
