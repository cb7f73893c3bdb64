# What the tests of runs under SLURM share; sourced.  Finds the program in $BIN;
# makes $work, which goes at the end with the cluster in it.
# shellcheck shell=bash disable=SC2034 # used by those that source it
set -uo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
m=${BIN:-$top/build/bin/mutransfer}
failed=0

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    printf '[  SKIPPED ] 1 test(s): no slurmctld, or no munged\n'
    exit 0
fi
if ! "$m" doctor --json | grep -q '"mpi": true'; then
    printf '[  SKIPPED ] 1 test(s): no MPI in this build\n'
    exit 0
fi

work=$(mktemp -d /tmp/mutransfer-slurm.XXXXXX)
state=$work/c
export XDG_STATE_HOME=$work/state

cluster() {
    "$here/cluster.sh" "$@"
}
cleanup() {
    cluster down "$state" >/dev/null
    if [ "$failed" = 0 ] || [ -z "${KEEP:-}" ]; then
        rm -rf "$work"
    else
        printf 'kept: %s\n' "$work"
    fi
}
trap cleanup EXIT
cd "$work" || exit 1

ok() {
    printf 'ok - %s\n' "$1"
}
not_ok() {
    printf 'not ok - %s\n' "$1"
    shift
    printf '%s\n' "$@" | sed 's/^/  /'
    failed=1
}

# until_true SECONDS COMMAND...: false if it never was.
until_true() {
    local end=$((${EPOCHREALTIME/./} + $1 * 1000000))

    shift
    until "$@" >/dev/null 2>&1; do
        [ "${EPOCHREALTIME/./}" -lt $end ] || return 1
        sleep 0.02
    done
}

# fresh: nobody remembers what happened to nodes; all of them take work.
fresh() {
    local node

    rm -rf "$XDG_STATE_HOME"
    sinfo -h -N -p main -o '%N %T' | grep -vE ' (idle|mixed|allocated)$' |
        while read -r node _; do
            cluster start-node "$state" "$node" >/dev/null
        done
}

# ---- runs ----------------------------------------------------------------------
# The base of all: three nodes train, one stands by; rank 0 sleeps in every
# step, so that a fault finds the run in the middle of it.
cat >base.yaml <<'END'
model: {width: 32, layers: 2, head_size: 16, kv_group: 2, ffn_ratio: 4,
        experts: 4, top_k: 2, seq: 32}
mup: {base_width: 32}
train: {steps: 240, batch: 12, lr: 2^-6}
data: {train: synthetic, valid: synthetic, valid_sequences: 12}
run: {log_every: 1}
checkpoint: {every: 20}
parallel: {data: 3, expert: 1, tensor: 1, deadline_s: 20}
slurm: {nodes: 3, spares: 1, time_min: 10}
recover: {join_s: 5}
drill: {slow: rank 0 ms 15}
END

# begin DIR ARG...: a run in the background; sets $client.
begin() {
    dir=$work/$1
    shift
    "$m" launch base.yaml --slurm -o "$dir" "$@" >"$dir.out" 2>"$dir.err" \
        </dev/null &
    client=$!
}
# finish [SECONDS]: wait for its end, so long at most; sets $code.
finish() {
    code=0
    until_true "${1:-120}" is_over "$client" || {
        tell
        kill -9 "$client"
        scancel "$(job)" # so that the next test has the nodes
    }
    wait "$client" 2>/dev/null || code=$?
}
is_over() {
    ! kill -0 "$1" || grep -q '^State:.Z' "/proc/$1/status"
}
# Steps that the run in $dir has logged.
steps() {
    cat "$dir/metrics.jsonl" 2>/dev/null | wc -l
}
has_steps() {
    [ "$(steps)" -ge "$1" ]
}
# at_step N: wait until the run has come there.
at_step() {
    until_true 60 eval "has_steps $1 || is_over $client"
    has_steps "$1" ||
        not_ok "the run in $dir comes to step $1" "$(tell)"
}
# says NAME FILE PATTERN: a line of the run's file matches.
says() {
    if grep -qE -- "$3" "$dir/$2" 2>/dev/null; then
        ok "$1"
    else
        not_ok "$1" "no '$3' in $2:" "$(tell)"
    fi
}
tell() {
    tail -n 12 "$dir.err" "$dir/job.log" 2>/dev/null
    grep -E '"(failure|ejected|incident|requeued|ended)"' "$dir/launch.jsonl" \
        2>/dev/null | tail -n 6
}
job() {
    sed -n 's/.*"submitted".*"job":\([0-9]*\).*/\1/p' "$dir/launch.jsonl" |
        tail -n 1
}
# node_of RANK: where it runs, as the supervisor says.
node_of() {
    tr -d ' \n' <"$dir/launch.json" |
        grep -oE '\{"name":"[^"]*"[^}]*"ranks":\[[^]]*\]' |
        grep -E "\[([0-9]+,)*$1[],]" | sed 's/.*"name":"\([^"]*\)".*/\1/'
}
pid_of() { # RANK
    local p

    for p in $(pgrep -f -- "train -o $dir "); do
        tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null |
            grep "^SLURM_PROCID=$1\$" >/dev/null && echo "$p" && return
    done
}

# ended NAME CODE: the client's exit code.
ended() {
    if [ "$code" = "$2" ]; then
        ok "$1"
    else
        not_ok "$1" "exit code $code, expected $2" "$(tell)"
    fi
}

# as_whole NAME [WHOLE]: every step has the bits of the unbroken run; speed is
# no result.
as_whole() {
    local d

    for d in "${2:-$work/whole}" "$dir"; do
        sed 's/"tokens_per_s":[^,}]*//' "$d/metrics.jsonl" >"$d.metrics"
    done
    if [ -s "$dir.metrics" ] && cmp -s "${2:-$work/whole}.metrics" "$dir.metrics"; then
        ok "$1"
    else
        not_ok "$1" "$(diff "${2:-$work/whole}.metrics" "$dir.metrics" |
            head -n 6)" "$(tell)"
    fi
}

# number KEY LINE
number() {
    sed -n "s/.*\"$1\":\\([-0-9.e]*\\).*/\\1/p" <<<"$2" | tail -n 1
}

# parts: of the last incident; sets $line, $total and $sum.
parts() {
    local key

    sum=0
    line=$(grep '"incident"' "$dir/launch.jsonl" | tail -n 1)
    total=$(number total_s "$line")
    for key in detect_s fence_s replace_s relaunch_s rendezvous_s load_s \
        first_step_s; do
        sum="$sum+$(number $key "$line")"
        printf '#   %-13s %6.2f s\n' "$key" "$(number $key "$line")"
    done
    printf '#   %-13s %6.2f s, %s steps again\n' total "$total" \
        "$(number replayed_steps "$line")"
}

# recovered LIMIT_S: the last incident took less, and its parts add up.  Other
# tests of `make test` run beside it: there it has six times as long.
recovered() {
    local line total sum limit=$1

    [ -n "${MUTRANSFER_SOAK:-}" ] || limit=$((6 * limit))
    parts
    if awk "BEGIN { exit !(0$total > 0 && 0$total < $limit &&
        ($sum) - 0$total < 0.1 && 0$total - ($sum) < 0.1) }"; then
        ok "it trains again within $limit s, and the parts add up"
    else
        not_ok "it trains again within $limit s, and the parts add up" "$line"
    fi
}
