#!/bin/bash
# The loaders of docs/examples: with the package they are for where Python has
# it, against a stand-in for it otherwise.  Nothing here is needed to build or
# to use the program.  PYTHON=... chooses the interpreter.
set -uo pipefail
export LC_ALL=C PYTHONDONTWRITEBYTECODE=1

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${BIN:-$top/build/bin/mutransfer}
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

command -v "$python" >/dev/null || {
    echo 'ok - skipped: no python3'
    exit 0
}

# check KIND MODULE: with MODULE if it can be imported, and with the stand-in.
check() {
    local kind=$1 module=$2 how out

    for how in real stub; do
        if [ $how = real ] && ! "$python" -c "import $module" 2>/dev/null; then
            echo "ok - skipped: python has no $module"
            continue
        fi
        if out=$("$python" "$top/tests/examples_check.py" "$kind" "$BIN" \
            "$top/docs/examples" "$work" ${how/real/} 2>&1); then
            echo "ok - the loader for $kind ($how)"
        else
            printf 'not ok - the loader for %s (%s)\n%s\n' "$kind" $how "$out"
            failed=1
        fi
    done
}

check torch torch
check optax 'jax, optax'
exit $failed
