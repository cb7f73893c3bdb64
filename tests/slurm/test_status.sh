#!/bin/bash
# status and cancel beside a real controller: a job that runs, one that waits,
# a controller that is dead.  A batch script stands in for the supervisor.
# Finds the program in $BIN; prints "ok - NAME" lines.  About 20 s.
set -uo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BIN=${BIN:-$here/../../build/bin/mutransfer}
failed=0

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    printf '[  SKIPPED ] 1 test(s): no slurmctld, or no munged\n'
    exit 0
fi

# Not in $TMPDIR, which may be long.
work=$(mktemp -d /tmp/mutransfer-status.XXXXXX)
cleanup() {
    "$here/cluster.sh" down "$work/c" >/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 1

# t NAME CODE PATTERN COMMAND...: exit code, and a regular expression that
# stdout and stderr together must match.
t() {
    local name=$1 want=$2 pattern=$3 code=0 out

    shift 3
    out=$("$@" 2>&1 </dev/null) || code=$?
    if [ "$code" = "$want" ] && grep -qE -- "$pattern" <<<"$out"; then
        printf 'ok - %s\n' "$name"
    else
        printf 'not ok - %s\n  exit code %s, no %s in:\n  %s\n' "$name" \
            "$code" "'$pattern'" "$out"
        failed=1
    fi
}

wait_for() {
    for _ in $(seq 400); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    return 1
}

# submitted DIR JOB BY: the line of a submission.
submitted() {
    printf '{"event":"submitted","time":%s,"uuid":"u","job":%s,"by":"%s",%s}\n' \
        "$(date +%s)" "$2" "$3" '"again":0' >>"$1/launch.jsonl"
}

cat >batch.sh <<'END'
#!/bin/bash
line() {
    printf '{"event":"%s","time":%s,"job":%s%s}\n' "$1" "$(date +%s)" \
        "$SLURM_JOB_ID" "$2" >>"$DIR/launch.jsonl"
}
line supervisor ',"restart":0,"host":"node1","pid":1,"nodes":["node1"]'
trap 'line ended ",\"status\":7,\"text\":\"stopped at step 40\""; exit 7' TERM
sleep 300 &
wait
END
if ! "$here/cluster.sh" up c --nodes 2 >up.txt 2>&1; then
    printf 'not ok - the cluster starts\n  %s\n' "$(cat up.txt)"
    exit 1
fi
eval "$("$here/cluster.sh" env c)"

for by in libslurm tools; do
    mkdir run-$by wait-$by
    job=$(DIR=$work/run-$by sbatch --parsable -N1 -o /dev/null batch.sh)
    submitted run-$by "$job" $by
    wait_for grep -q supervisor run-$by/launch.jsonl
    t "status of a job that runs, by $by" 0 "job +$job, RUNNING on node1" \
        "$BIN" status run-$by
    t "cancel lets it save, by $by" 0 'has ended: stopped at step 40' \
        "$BIN" cancel run-$by
    t "... and it is over" 0 'stopped, state saved' "$BIN" status run-$by
    holder=$(sbatch --parsable --exclusive -N2 -o /dev/null --wrap 'sleep 99')
    job=$(DIR=$work/wait-$by sbatch --parsable --exclusive -N2 -o /dev/null \
        batch.sh)
    submitted wait-$by "$job" $by
    wait_for grep -q Resources <(squeue -h -j "$job" -o %r)
    t "status of a job that waits, by $by" 0 'waits for nodes' \
        "$BIN" status wait-$by
    t "cancel removes it, by $by" 0 'which was waiting, was removed' \
        "$BIN" cancel wait-$by
    t "... and it is over" 0 'cancelled while its job was waiting' \
        "$BIN" status wait-$by
    scancel "$holder"
done

mkdir alone
job=$(DIR=$work/alone sbatch --parsable -N1 -o /dev/null batch.sh)
submitted alone "$job" libslurm
wait_for grep -q supervisor alone/launch.jsonl
"$here/cluster.sh" kill-ctld c >/dev/null
t "a dead controller keeps nobody waiting" 0 'so this is from the journal' \
    timeout 5 "$BIN" status alone
t "cancel leaves the wish to the supervisor" 0 "supervisor reads it" \
    "$BIN" cancel alone --no-wait
t "... in the journal" 0 '"wish":"cancel"' cat alone/launch.jsonl
"$here/cluster.sh" start-ctld c >/dev/null
wait_for "$BIN" cancel alone
t "the controller is back, and so is cancel" 0 'stopped at step 40' \
    "$BIN" status alone

exit $failed
