#!/bin/bash
# status, cancel and report of runs, on this machine and, without a scheduler,
# of folders as a supervisor leaves them.  Finds the program in $BIN; prints
# "ok - NAME" lines.
set -uo pipefail
export LC_ALL=C

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${BIN:-$top/build/bin/mutransfer}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
cp -r "$top/configs" .
[ -x "$BIN" ] || {
    printf 'not ok - the program is built: %s\n' "$BIN"
    exit 1
}
m=$BIN
failed=0
# No scheduler of this machine is asked.
export SLURM_CONF=$work/no-slurm.conf

ok() {
    printf 'ok - %s\n' "$1"
}
not_ok() {
    printf 'not ok - %s\n' "$1"
    shift
    printf '  %s\n' "$@"
    failed=1
}

# t NAME CODE PATTERN COMMAND...: exit code, and a regular expression that
# stdout and stderr together must match ("" = none).
t() {
    local name=$1 want=$2 pattern=$3 code=0 out

    shift 3
    out=$("$@" 2>&1 </dev/null) || code=$?
    if [ "$code" != "$want" ]; then
        not_ok "$name" "exit code $code, expected $want" "$* says:" "$out"
    elif [ -n "$pattern" ] && ! grep -qE -- "$pattern" <<<"$out"; then
        not_ok "$name" "no '$pattern' in:" "$out"
    else
        ok "$name"
    fi
}

# wait_for COMMAND...: until it succeeds, 20 s at most.
wait_for() {
    for _ in $(seq 400); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    return 1
}

# event DIR NAME SECONDS_AGO REST: a line of its journal.
event() {
    printf '{"event":"%s","time":%s%s}\n' "$2" "$(($(date +%s) - $3))" "$4" \
        >>"$1/launch.jsonl"
}

# launched DIR: a run whose supervisor began ten seconds ago.
launched() {
    mkdir -p "$1"
    cp resolved.yaml "$1/config.yaml"
    event "$1" submitted 30 ',"uuid":"u","job":41,"by":"tools","again":0'
    event "$1" supervisor 10 ',"job":41,"restart":0,"host":"node1","pid":1'
    event "$1" incarnation 5 \
        ',"incarnation":1,"nodes":["node1","node2"],"spares":[],"ranks":2'
}

tiny=configs/tiny.yaml
"$m" show config $tiny >resolved.yaml

# ---- a run on this machine -----------------------------------------------------
"$m" train $tiny -q -o here --train.steps=1000000 >here.txt 2>&1 &
trainer=$!
wait_for grep -q . here/metrics.jsonl
t "status of a run that trains" 0 'last event: start' "$m" status here
t "cancel does not wait if it shall not" 0 'was asked to save and stop' \
    "$m" cancel here --no-wait
code=0
wait $trainer || code=$?
if [ $code = 7 ]; then
    ok "a cancelled run stops with its state saved"
else
    not_ok "a cancelled run stops with its state saved" "exit code $code" \
        "$(cat here.txt)"
fi
"$m" train $tiny -q -o here --train.steps=1000000 >here.txt 2>&1 &
trainer=$!
wait_for "$m" status here
wait_for grep -q resume here/events.jsonl
"$m" status here --watch=1 >watch.txt 2>&1 &
watcher=$!
wait_for grep -q resume watch.txt
t "cancel waits for the end" 0 "'here' has stopped" "$m" cancel here
wait $trainer
if wait $watcher && grep -q 'last event: stopped' watch.txt; then
    ok "status --watch ends with the run"
else
    not_ok "status --watch ends with the run" "$(cat watch.txt)"
fi
t "cancel of what does not run says so" 1 'nothing to cancel' "$m" cancel here
t "cancel of a file" 2 'is a file' "$m" cancel $tiny
t "cancel of nothing" 3 'No such file' "$m" cancel nope
printf 'elsewhere 1\n' >here/run.lock
t "a run on another machine is named" 2 'process 1 on elsewhere' \
    "$m" cancel here
rm here/run.lock
t "the report of a run" 0 'Trained [0-9,]+ of 1,000,000 steps, loss' \
    "$m" report here
t "... has a page" 0 '<h1>here</h1>' cat here/report.html
t "... speaks JSON" 0 '"finding"' "$m" report here --json
t "... may go elsewhere" 0 'report: there/report.html' \
    "$m" report here -o there
t "... has no axes" 2 'about sweeps' "$m" report here --over model.width
t "... its loss can be drawn" 0 'here/plots/loss.svg' "$m" plot loss here
t "... and it had no incidents to draw" 2 'only runs under SLURM' \
    "$m" plot incidents here

# ---- a sweep on this machine ---------------------------------------------------
printf '%s\n' 'name: few' 'base: configs/tiny.yaml' 'method: grid' \
    'parameters: {train.lr: {values: [0.01, 0.02, 0.04]}}' >few.yaml
"$m" sweep few.yaml -q -o study -j 2 --train.steps=1000000 >study.txt 2>&1 &
driver=$!
wait_for grep -q . study/trials/1/events.jsonl
t "cancel stops a sweep" 0 "'study' has stopped" "$m" cancel study
code=0
wait $driver || code=$?
if [ $code = 7 ]; then
    ok "... with its state saved"
else
    not_ok "... with its state saved" "exit code $code" "$(cat study.txt)"
fi

# ---- under SLURM, the controller gone ------------------------------------------
mkdir early
event early submitted 1 ',"uuid":"u","job":41,"by":"tools","again":0'
t "a run that waits for its first node has a journal alone" 0 \
    'job +41; .*, so this is from the journal' \
    "$m" status early
t "... cannot be reached without the scheduler" 4 \
    'job 41 was not reached.*wish stands in' "$m" cancel early
t "... the wish is left for it" 0 '"wish":"cancel"' cat early/launch.jsonl
t "... and status knows it" 0 'to be cancelled' "$m" status early

launched alive
t "status without the controller" 0 'from the journal' "$m" status alive
t "... names the nodes" 0 'node2  training' "$m" status alive
t "... as JSON" 0 '"source": "journal"' "$m" status alive --json
"$m" status alive --watch=1 --json >watch.txt 2>&1 &
watcher=$!
wait_for grep -q '"over":false' watch.txt
kill -INT $watcher
if wait $watcher; then
    ok "Ctrl-C ends watching with exit code 0"
else
    not_ok "Ctrl-C ends watching with exit code 0" "$(cat watch.txt)"
fi
"$m" cancel alive >cancel.txt 2>&1 &
canceller=$!
wait_for grep -q '"wish":"cancel"' alive/launch.jsonl
event alive ended 0 ',"status":7,"text":"stopped at step 40","trained_s":4'
if wait $canceller &&
    grep -q "'alive' has ended: stopped at step 40" cancel.txt; then
    ok "cancel waits for the supervisor's last word"
else
    not_ok "cancel waits for the supervisor's last word" "$(cat cancel.txt)"
fi
t "status of a run that was stopped" 0 'stopped, state saved \(exit code 7\)' \
    "$m" status alive --watch
t "... has its goodput" 0 'goodput +[0-9.]+ % \(4\.0 s trained in' \
    "$m" status alive
t "... there is nothing to cancel" 1 'nothing to cancel' "$m" cancel alive
launched alive
t "cancel --no-wait leaves the wish to the supervisor" 0 \
    "where the run's supervisor reads it" "$m" cancel alive --no-wait
t "the report of a run under SLURM" 0 '; no incident' "$m" report alive
t "... shows what the time went into" 0 'Incidents</h2>' cat alive/report.html

exit $failed
