#!/bin/bash
# Runs of two ranks on this machine: answers, Ctrl-C, ranks that die, hang or
# lose their supervisor.  Finds the program in $BIN; prints "ok - NAME" lines.
set -uo pipefail
export LC_ALL=C

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${BIN:-$top/build/bin/mutransfer}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
m=$BIN
tiny=$top/configs/tiny.yaml
failed=0

if ! "$m" doctor --json | grep -q '"mpi": true' ||
    ! command -v mpirun >/dev/null; then
    printf '[  SKIPPED ] 1 test(s): no MPI in this build, or no mpirun\n'
    exit 0
fi

ok() {
    printf 'ok - %s\n' "$1"
}
not_ok() {
    printf 'not ok - %s\n' "$1"
    shift
    printf '  %s\n' "$@"
    failed=1
}

# expect NAME CODE WANTED_CODE PATTERN FILE: FILE has a line that matches.
expect() {
    local name=$1 code=$2 want=$3 pattern=$4 file=$5

    if [ "$code" != "$want" ]; then
        not_ok "$name" "exit code $code, expected $want" "$(tail -n 20 "$file")"
    elif ! grep -qE -- "$pattern" "$file"; then
        not_ok "$name" "no '$pattern' in:" "$(tail -n 20 "$file")"
    else
        ok "$name"
    fi
}

run() {
    local code=0

    "$m" launch $tiny --local 2 "$@" >out.txt 2>err.txt </dev/null || code=$?
    echo $code
}

# The living processes of the run in folder $1; dead ones may wait for a slow
# parent.
living() {
    local p

    for p in $(pgrep -f -- "train -o $1 "); do
        grep -q '^State:.Z' "/proc/$p/status" 2>/dev/null || echo "$p"
    done
}

# grep reads to the end: with -q it may end tr by SIGPIPE, which counts.
rank_pid() { # DIR RANK
    local p

    for p in $(pgrep -f -- "^$m train -o $1 "); do
        if tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null |
            grep "^OMPI_COMM_WORLD_RANK=$2\$" >/dev/null; then
            echo "$p"
            return
        fi
    done
}

long=(--train.steps=600 --run.log_every=1 -q)

# begin DIR ARG...: a long run in the background; $supervisor; waits for steps.
begin() {
    local dir=$1

    shift
    "$m" launch $tiny --local 2 "${long[@]}" -o "$dir" "$@" >out.txt \
        2>err.txt </dev/null &
    supervisor=$!
    for _ in $(seq 4000); do
        [ "$(cat "$dir/metrics.jsonl" 2>/dev/null | wc -l)" -lt 20 ] ||
            break
        kill -0 $supervisor 2>/dev/null || break
        sleep 0.005
    done
}

finish() { # sets $code
    code=0
    wait $supervisor 2>/dev/null || code=$?
}

# none_left NAME DIR: soon no process of the run is left.
none_left() {
    for _ in $(seq 1000); do
        [ -n "$(living "$2")" ] || break
        sleep 0.01
    done
    if [ -z "$(living "$2")" ]; then
        ok "$1"
    else
        not_ok "$1" "$(ps -o pid,stat,args -p "$(living "$2" | paste -sd,)")"
        # shellcheck disable=SC2046 # one word a process
        kill -9 $(living "$2")
    fi
}

# as_unbroken NAME DIR: the metrics are those of "whole"; speed is no result.
as_unbroken() {
    local dir

    for dir in whole "$2"; do
        sed 's/"tokens_per_s":[^,}]*//' "$dir/metrics.jsonl" >"$dir.metrics"
    done
    if [ -s whole.metrics ] && cmp -s whole.metrics "$2.metrics"; then
        ok "$1"
    else
        not_ok "$1" "$(diff whole.metrics "$2.metrics" | cut -c1-70 |
            head -n 5)"
    fi
}

# ---- a run that ends well --------------------------------------------------------
code=$(run -o done)
expect "two ranks train" "$code" 0 'trained 50 steps' out.txt
n=$(grep -c 'trained 50 steps' out.txt)
expect "... and print their result once" "$n" 1 'results in done' out.txt
expect "... which the log has, too" 0 0 '^rank 0: trained 50 steps' done/log
code=$(run -o done --json)
expect "the same command returns the result again" "$code" 0 '"steps": 50' \
    out.txt
code=$(run -o "dry run" -n --parallel.data=2)
expect "a dry run says what would be started" "$code" 0 \
    "^command  mpirun -np 2 .* -o 'dry run' --parallel.data=2" out.txt
"$m" plan $tiny --ranks 2 --parallel.data=2 >plan.txt
if grep -v '^command' out.txt | cmp -s plan.txt -; then
    ok "... and the plan of those ranks"
else
    not_ok "... and the plan of those ranks" "$(diff plan.txt out.txt)"
fi
code=$(run -o dry -n --json)
expect "... for programs, too" "$code" 0 '"command": "mpirun -np 2 ' out.txt
code=$(run -o dry -n)
expect "a dry run starts nothing" "$code" 0 'tensor' out.txt
[ ! -e dry ] || not_ok "... and leaves no folder"

# ---- what costs no start -----------------------------------------------------------
code=$(run -o typo --train.learning_rate=1)
expect "a misspelt key is refused" "$code" 2 'learning_rate' err.txt
[ ! -e typo ] || not_ok "... before anything is started" "$(ls typo)"
code=$(run -o layout --parallel.data=3)
expect "a layout that is not two ranks is refused" "$code" 2 \
    'parallel.data 3' err.txt
[ ! -e layout ] || not_ok "... before anything is started" "$(ls layout)"
mkdir empty
code=0
PATH=$work/empty "$m" launch "$tiny" --local 2 -o nowhere >out.txt \
    2>err.txt || code=$?
expect "without mpirun a sentence says what to install" "$code" 2 \
    'make setup' err.txt
code=$(run -o nofile --data.train=nofile)
expect "what the ranks refuse is said once" "$code" 3 \
    "^mutransfer launch: .*'nofile'" err.txt
n=$(grep -c nofile err.txt)
[ "$n" = 1 ] || not_ok "... not $n times" "$(cat err.txt)"

# ---- Ctrl-C ------------------------------------------------------------------------
code=$(run "${long[@]}" -o whole)
expect "an unbroken run" "$code" 0 'trained 600 steps' out.txt
for signal in INT TERM; do
    begin stop-$signal
    kill -$signal $supervisor
    finish
    expect "SIG$signal saves and says how to continue" "$code" 7 \
        'the same command continues' err.txt
    n=$(grep -cE '^rank [01]: stopped' stop-$signal/log)
    expect "... and both ranks say so in the log" "$n" 2 '^rank 1: ' \
        stop-$signal/log
    none_left "... and none is left" stop-$signal
    code=$(run "${long[@]}" -o stop-$signal)
    expect "... the same command continues" "$code" 0 'trained 600 steps' \
        out.txt
    as_unbroken "... to the end of the unbroken run" stop-$signal
done

# timeout(1) signals its child, and then the child again with its group.
for verb in "launch --local 2" train; do
    # shellcheck disable=SC2086 # several words
    "$m" $verb $tiny -q -o pair --drill.slow='rank 0 ms 200' >out.txt \
        2>err.txt </dev/null &
    supervisor=$!
    for _ in $(seq 2000); do
        [ ! -s pair/metrics.jsonl ] || break
        sleep 0.005
    done
    kill -TERM $supervisor
    sleep 0.05
    kill -TERM $supervisor 2>/dev/null
    finish
    expect "two signals at once are one to ${verb%% *}" "$code" 7 \
        'same command' err.txt
    rm -rf pair
done

# A rank that is stopped cannot save: the second signal kills.
begin twice
kill -STOP "$(rank_pid twice 1)"
kill -INT $supervisor
sleep 1.2
kill -INT $supervisor
finish
expect "a second signal kills" "$code" 1 'second signal' err.txt
none_left "... and no rank is left" twice

# ---- dead and hung ranks --------------------------------------------------------------
for signal in KILL SEGV; do
    begin dead-$signal --checkpoint.every=7
    began=$(date +%s%N)
    kill -$signal "$(rank_pid dead-$signal 1)"
    finish
    took=$((($(date +%s%N) - began) / 1000000))
    printf 'SIG%s of a rank: exit after %d ms\n' $signal $took
    expect "SIG$signal of a rank ends the run and names it" "$code" 4 \
        "^mutransfer launch: rank 1 of 2 was killed by signal" err.txt
    # The aim is 1 s; the machine may be busy.
    [ $took -lt 5000 ] || not_ok "... at once" "$took ms"
    none_left "... and no rank is left" dead-$signal
done
code=$(run "${long[@]}" -o dead-KILL)
expect "the same command continues from the checkpoint" "$code" 0 \
    'trained 600 steps' out.txt
as_unbroken "... to the end of the unbroken run" dead-KILL

begin hung --parallel.deadline_s=2 --drill.stop='rank 1 step 30'
finish
expect "a rank that hangs ends the run, by name" "$code" 4 \
    '^mutransfer launch: .*rank.* 1' err.txt
none_left "... and is not left behind" hung

# Both at once: nobody else is there to notice; most of the time they save.
begin frozen --parallel.deadline_s=1 --checkpoint.every=1
kill -STOP "$(rank_pid frozen 0)" "$(rank_pid frozen 1)"
finish
expect "ranks that all hang while they save end the run" "$code" 4 \
    '^mutransfer launch: rank [01] of 2 hung' err.txt
none_left "... and are not left behind" frozen

begin deaf --parallel.deadline_s=1
kill -STOP "$(rank_pid deaf 0)" "$(rank_pid deaf 1)"
kill -INT $supervisor
finish
expect "ranks that do not answer a stop are killed and named" "$code" 4 \
    '^mutransfer launch: ranks 0, 1 of 2 did not answer' err.txt
none_left "... and are not left behind" deaf

begin no-mpirun
kill -KILL "$(pgrep -f -- "^mpirun .* train -o no-mpirun ")"
finish
expect "a killed mpirun is named, and the step" "$code" 4 \
    '^mutransfer launch: mpirun was killed by signal 9 .* at step [0-9]' err.txt
none_left "... and its ranks are not left behind" no-mpirun

# As if MPI never came up.
mkdir stuck
printf '#!/bin/sh\nexec sleep 600\n' >stuck/mpirun
chmod +x stuck/mpirun
PATH=$work/stuck:$PATH "$m" launch $tiny --local 2 "${long[@]}" -o early \
    --parallel.deadline_s=1 >out.txt 2>err.txt </dev/null &
supervisor=$!
for _ in $(seq 2000); do
    [ ! -s early/log ] || break
    sleep 0.005
done
sleep 0.2
kill -INT $supervisor
finish
expect "a start that hangs does not outlive a stop" "$code" 4 \
    '^mutransfer launch: ranks 0, 1 of 2 did not answer' err.txt

# ---- slow ranks -----------------------------------------------------------------------
code=$(run -o slow -q --drill.slow='rank 1 ms 60')
expect "a rank that is slow trains" "$code" 0 'trained 50 steps' out.txt
expect "... and is named" 0 0 '^rank 0: warning: rank 1 is slow' err.txt
n=$(grep -c 'is slow' err.txt)
expect "... once, and alone" "$n" 1 'rank 1 is slow' slow/log
code=0
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
    mpirun --oversubscribe -np 2 "$m" train $tiny -q -o plain \
    --drill.slow='rank 1 ms 60' >out.txt 2>err.txt </dev/null || code=$?
expect "... without supervisor, too" "$code" 0 '^warning: rank 1 is slow' \
    err.txt

code=0
MUTRANSFER_SUPERVISOR=127.0.0.1:1:abc "$m" train $tiny -q -o unreached \
    >out.txt 2>err.txt || code=$?
expect "a supervisor that is not there is the reason of the stop" "$code" 7 \
    'MUTRANSFER_SUPERVISOR names cannot be reached' err.txt

# ---- a dead supervisor ----------------------------------------------------------------
begin orphans
kill -KILL $supervisor
finish
none_left "ranks without supervisor stop" orphans
code=$(run "${long[@]}" -o orphans)
expect "... having saved: the same command continues" "$code" 0 \
    'trained 600 steps' out.txt
as_unbroken "... to the end of the unbroken run" orphans

exit $failed
