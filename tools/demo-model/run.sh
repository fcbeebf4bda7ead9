#!/bin/bash
# On the GPU machine, from the repository's root:
#   tools/demo-model/run.sh probe OUT                        how fast training is there; checks every stage
#   tools/demo-model/run.sh train OUT MOE_STEPS NEXT_STEPS   both models and the repetition, side by side
# OUT receives demo/*.safetensors, demo-next/*.safetensors and rest.tar.gz (configurations, logs, answers).
# TRAIN_FLAGS adds to train.py's arguments (--no-compile), PYTHON names the interpreter,
# PREPARE_FLAGS and MAX_MINUTES are for trials.
set -euo pipefail
mode=$1 out=$2
here=$(dirname "$0")
python=${PYTHON:-python3}
work=${WORK:-build/demo-train}
rows=$work/rows
flags=${TRAIN_FLAGS:-}
mkdir -p "$work" "$out"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

train() { # NAME ARCH SEED ARGUMENTS...
  local name=$1 arch=$2 seed=$3
  shift 3
  $python "$here/train.py" --arch "$arch" --seed "$seed" --rows "$rows" --out "$work/$name" $flags "$@" \
    >"$work/$name.out" 2>&1
}

try() { # NAME ARCH SEED: a few steps; where compilation fails, without it
  train "$@" --steps 60 --log-every 20 && return
  cp "$work/$1.out" "$work/$1.failed"
  echo "run: $1 failed compiled; the end of its output:"
  tail -n 12 "$work/$1.failed"
  train "$@" --steps 20 --log-every 10 --no-compile
}

finish() { # show how each training ended, and fail if one failed
  local failed=0
  for name in "${!jobs_of[@]}"; do
    wait "${jobs_of[$name]}" || { failed=1; echo "run: $name failed"; }
    echo "== $name"
    grep -E '^(probe|train|step|held out|Q:)' "$work/$name.out" | tail -n "${1:-52}" || true
    [ $failed = 0 ] || tail -n 15 "$work/$name.out"
  done
  return $failed
}

declare -A jobs_of
if [ "$mode" = probe ]; then
  $python "$here/prepare.py" --out "$rows" --chat-tokens 4e6 --text-tokens 4e6 ${PREPARE_FLAGS:-}
  try moe moe 1 & jobs_of[moe]=$!
  try again moe 1 & jobs_of[again]=$!
  try next next 2 & jobs_of[next]=$!
  status=0
  finish 8 || status=1
else
  $python "$here/prepare.py" --out "$rows" --chat-tokens "${CHAT_TOKENS:-60e6}" --text-tokens "${TEXT_TOKENS:-50e6}" ${PREPARE_FLAGS:-}
  limit="--max-minutes ${MAX_MINUTES:-7.3}"
  train moe moe 1 --steps "$3" $limit & jobs_of[moe]=$!
  train again moe 1 --steps "$3" $limit & jobs_of[again]=$!
  train next next 2 --steps "$4" $limit & jobs_of[next]=$!
  status=0
  finish || status=1
fi
for name in moe next; do
  $python "$here/verify.py" "$work/$name" 2>&1 | grep -E '^(verify|What)' | tee "$work/$name.verify" || status=1
done
mkdir -p "$out/demo" "$out/demo-next"
cp "$work"/moe/*.safetensors "$out/demo/" || status=1
cp "$work"/next/*.safetensors "$out/demo-next/" || status=1
tar -C "$work" --exclude=rows --exclude='*.safetensors' --exclude='tokenizer.json' -czf "$out/rest.tar.gz" .
ls -l "$out" "$out"/*/
exit $status
