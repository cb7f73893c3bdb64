#!/bin/bash
# Run tests and count: tests/run.sh BUILD TEST...  A test is a cmocka binary or
# a shell script that prints "ok - NAME" and "not ok - NAME" lines and finds the
# program in $BIN.  One test a core at a time, or TEST_JOBS; ends with "N passed, N failed".
set -uo pipefail

build=$1
shift
export BIN=$PWD/$build/bin/mutransfer BUILD=$PWD/$build
# What a user has set must not change what is tested.
unset OPENBLAS_CORETYPE OMP_NUM_THREADS COLUMNS
export LC_ALL=C TERM=dumb
logs=$build/tests/logs
mkdir -p "$logs"

one() {
    local test=$1 logs=$2 name began=$SECONDS code=0

    name=$(basename "$test")
    timeout "${TEST_TIMEOUT:-900}" "$test" >"$logs/$name.log" 2>&1 || code=$?
    echo "$code" >"$logs/$name.code"
    printf '  %-8s %-28s %4d s\n' "$([ $code = 0 ] && echo ok || echo FAILED)" \
        "$name" $((SECONDS - began))
}
export -f one

rm -f "$logs"/*.log "$logs"/*.code
printf '%s\0' "$@" | xargs -0 -r -P "${TEST_JOBS:-$(nproc)}" -I{} bash -c 'one "$@"' _ {} \
    "$logs"

passed=0
failed=0
skipped=0
for test; do
    name=$(basename "$test")
    log=$logs/$name.log
    code=$(cat "$logs/$name.code" 2>/dev/null || echo 1)
    p=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" |
        awk '{n+=$1} END {print n+0}')
    f=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" |
        awk '{n+=$1} END {print n+0}')
    s=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$log" |
        awk '{n+=$1} END {print n+0}')
    p=$((p + $(grep -c '^ok - ' "$log")))
    f=$((f + $(grep -c '^not ok - ' "$log")))
    # A crash leaves no summary, or one that does not know of it; a test that
    # says nothing has tested nothing.
    if [ "$code" != 0 ] && [ "$f" = 0 ] || [ $((p + f + s)) = 0 ]; then
        f=$((f + 1))
    fi
    if [ "$f" != 0 ]; then
        printf '\n---- %s (exit code %s, log %s)\n' "$name" "$code" "$log"
        grep -E '^\[  ERROR|^\[   LINE|^\[  FAILED|^not ok|ERROR:|runtime error' \
            "$log" | head -n 40
        tail -n 15 "$log"
    fi
    passed=$((passed + p))
    failed=$((failed + f))
    skipped=$((skipped + s))
done
[ "$skipped" = 0 ] || printf '%d skipped\n' "$skipped"
printf '%d passed, %d failed\n' "$passed" "$failed" | tee "$build/summary"
[ "$failed" = 0 ]
