#!/bin/bash
# The cluster that other tests stand on: cluster.sh does what it says.  Finds
# the program in $BIN; prints "ok - NAME" lines.  About 15 s.
# shellcheck disable=SC2015,SC2016,SC2317 # ok is true; tasks expand; "holds" calls
set -uo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$here/../..
BIN=${BIN:-$top/build/bin/mutransfer}
failed=0

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    printf '[  SKIPPED ] 1 test(s): no slurmctld, or no munged\n'
    exit 0
fi

# Not in $TMPDIR, which may be long.
work=$(mktemp -d /tmp/mutransfer-cluster.XXXXXX)
chmod 755 "$work"
cp "$here/cluster.sh" "$work" # readable for the plain user below
a=$work/a b=$work/b c=$work/c

cluster() {
    "$here/cluster.sh" "$@"
}
# Of a plain user: root's checkout may be closed to it.
plain() {
    setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp \
        PATH="$PATH" "$@"
}

# trains TRAIN...: two ranks.  Open MPI 4.1.4 sometimes crashes or hangs where
# its ranks meet, which is no fault of the cluster: up to three times.
trains() {
    for _ in 1 2 3; do
        timeout -k 5 40 srun --mpi=pmix --kill-on-bad-exit=1 -N2 -n2 "$@" &&
            return
    done
    return 1
}

cleanup() {
    for state in "$a" "$b" "$c"; do
        cluster down "$state" >/dev/null
    done
    rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 1

ok() {
    printf 'ok - %s\n' "$1"
}
not_ok() {
    printf 'not ok - %s\n' "$1"
    shift
    printf '  %s\n' "$@"
    failed=1
}
skipped() {
    printf '[  SKIPPED ] 1 test(s): %s\n' "$1"
}

# holds NAME COMMAND...
holds() {
    local name=$1

    shift
    if "$@" >out.txt 2>&1; then
        ok "$name"
    else
        not_ok "$name" "$* said:" "$(tail -n 20 out.txt)"
    fi
}

# says NAME PATTERN COMMAND...: it succeeds and a line matches.
says() {
    local name=$1 pattern=$2

    shift 2
    if ! "$@" >out.txt 2>&1; then
        not_ok "$name" "$* failed:" "$(tail -n 20 out.txt)"
    elif ! grep -qE -- "$pattern" out.txt; then
        not_ok "$name" "no '$pattern' in:" "$(tail -n 20 out.txt)"
    else
        ok "$name"
    fi
}

# soon COMMAND...: within 10 s.
soon() {
    for _ in $(seq 200); do
        ! "$@" >out.txt 2>&1 || return 0
        sleep 0.05
    done
    return 1
}

use() { # STATE
    eval "$(cluster env "$1")"
}

# tasks NODE N: as many tasks there.
tasks() {
    cluster status "$state" | grep -E "^$1 .* $2 tasks"
}

# ---- up ------------------------------------------------------------------------------
state=$a
says "a cluster starts" '4 nodes of 2 CPUs' cluster up "$a"
says "... once" 'already running' cluster up "$a"
MUTRANSFER_NODE_DISK=
use "$a"
srun -N4 bash -c 'echo $SLURMD_NODENAME $(hostname)' 2>&1 | sort >hosts.txt
says "a step runs on every node" '^node4 ' cat hosts.txt
if [ "$(id -u)" = 0 ]; then
    says "... which have names of their own" '^node4 node4' cat hosts.txt
fi
if "$BIN" doctor --json | grep -q '"mpi": true'; then
    says "two nodes train by MPI" 'trained 50 steps' trains \
        "$BIN" train "$top/configs/tiny.yaml" -o "$work/train"
else
    skipped "no MPI in this build"
fi
says "a second cluster runs beside it" '2 nodes' cluster up "$b" --nodes 2
says "... and has its own nodes" 'node2' env SLURM_CONF="$b/slurm.conf" \
    srun -N2 bash -c 'echo $SLURMD_NODENAME'
holds "... and goes away" cluster down "$b" --wipe
holds "... with its folder" test ! -e "$b"
holds "... and leaves the first alone" srun -N4 true

# ---- faults ----------------------------------------------------------------------------
cat >beat.sh <<'END'
while :; do
    printf . >>"$1.$SLURMD_NODENAME"
    sleep 0.05
done
END
beats() { # NODE
    wc -c <"$work/beat.$1"
}

# more NODE: that node's task goes on.
more() {
    local before

    before=$(beats "$1")
    soon eval "[ \$(beats $1) -gt $before ]"
}

# An allocation that outlives its nodes, and a step in it.
salloc -Q -N4 --no-kill --no-shell -J held
job=$(squeue -h -n held -o %i)
step() {
    srun -Q --jobid="$job" --overlap --kill-on-bad-exit=0 "$@"
}
step -N4 --ntasks-per-node=1 bash beat.sh "$work/beat" >step.txt 2>&1 &
for k in 1 2 3 4; do
    soon test -s "beat.node$k" || not_ok "no beat of node$k" "$(cat step.txt)"
done

cluster stop-node "$a" node2
before=$(beats node2)
more node1 && more node1
[ "$(beats node2)" = "$before" ] && ok "a stopped node stands still" ||
    not_ok "a stopped node stands still"
cluster cont-node "$a" node2
holds "... and goes on" more node2

cluster kill-slurmd "$a" node2
holds "tasks outlive their slurmd" more node2
says "... which is dead" 'node2 .*slurmd dead' cluster status "$a"
holds "... and starts again" cluster start-node "$a" node2
holds "... without harm to them" more node2

cluster kill-tasks "$a" node4
holds "tasks die alone" soon tasks node4 0
says "... their node works" 'node4' step -N1 -n1 -w node4 printenv \
    SLURMD_NODENAME

cluster kill-node "$a" node3
holds "a node dies whole" tasks node3 0
says "... slurmd, too" 'node3 .*slurmd dead, 0 steps' cluster status "$a"
holds "... the others work on" more node1
says "... and take new steps" 'node4' step -N3 -n3 -w node1,node2,node4 \
    printenv SLURMD_NODENAME
holds "... it comes back" cluster start-node "$a" node3
says "... and takes a job's steps again" 'node3' step -N1 -n1 -w node3 \
    printenv SLURMD_NODENAME

# A controller saves its state every 5 s and forgets what came since.
soon grep -q held "$a/ctld/job_state"
cluster kill-ctld "$a"
says "a controller dies" 'ctld .*dead' cluster status "$a"
holds "... tasks live on" more node1
holds "... it comes back" cluster start-ctld "$a"
says "... and knows the job" "^$job\$" squeue -h -n held -o %i

scancel "$job"
wait

if [ -n "$MUTRANSFER_NODE_DISK" ]; then
    write() { # NODE
        srun -N1 -w "$1" bash -c \
            'head -c 100000 /dev/zero >$MUTRANSFER_NODE_DISK/x'
    }
    cluster fill-disk "$a" node1
    says "a node's own disk fills" 'No space left' eval '! write node1'
    holds "... and no other" write node2
    cluster free-disk "$a" node1
    holds "... until it is freed" write node1
fi

# ---- down --------------------------------------------------------------------------------
# What is left of a cluster; the dead may wait for a slow parent.
leftovers() { # STATE
    grep -lzF "SLURM_CONF=$1/" /proc/[0-9]*/environ 2>/dev/null |
        while IFS=/ read -r _ _ pid _; do
            grep -qz "^SLURMD_NODENAME=" "/proc/$pid/environ" && echo "task $pid"
        done
    find /proc/[0-9]*/fd -lname "$1/*" 2>/dev/null
    grep -lF " $1/" /proc/[0-9]*/mounts 2>/dev/null
}

nothing_left() {
    leftovers "$1"
    [ -z "$(leftovers "$1")" ]
}

srun sleep 600 >/dev/null 2>&1 &
client=$!
soon tasks node1 1
holds "a cluster ends" cluster down "$a"
wait $client
says "... with who waits for it" '^137$' echo $?
holds "... and leaves nothing behind" nothing_left "$a"
says "... once" 'down' cluster down "$a"
says "... and starts again" '3 nodes' cluster up "$a" --nodes 3
holds "... and works" srun -N3 true
cluster down "$a" >/dev/null

# ---- networks --------------------------------------------------------------------------
reachable() { # NODE
    local at

    at=$(scontrol show node -o "$1" | sed 's/.* NodeAddr=\([^ ]*\) .*/\1/')
    timeout 1 bash -c "</dev/tcp/$at/$(scontrol show node -o "$1" |
        sed 's/.* Port=\([0-9]*\).*/\1/')"
}

if cluster up "$c" --nodes 2 --netns >netns.txt 2>&1; then
    use "$c"
    ok "nodes have networks of their own"
    says "... and reach each other by name" 'node2' srun -N1 -w node1 \
        getent hosts node2
    if "$BIN" doctor --json | grep -q '"mpi": true'; then
        says "... and train" 'trained 50 steps' trains \
            "$BIN" train "$top/configs/tiny.yaml" -o "$work/train-netns"
    fi
    cluster cut "$c" node2
    holds "a cut node is not reached" eval '! reachable node2'
    holds "... others are" soon reachable node1
    cluster heal "$c" node2
    holds "... until it is healed" soon reachable node2
    holds "that network ends" cluster down "$c"
    holds "... and leaves nothing behind" nothing_left "$c"
    # shellcheck disable=SC1091 # written by cluster.sh
    says "... no link, either" '^0$' bash -c '. "$1/cluster"
        ip -br link | grep -c "^$bridge[ -]" || :' - "$c"
elif grep -q 'netns' netns.txt; then
    skipped "$(cat netns.txt)"
else
    not_ok "nodes have networks of their own" "$(cat netns.txt)"
fi

# ---- a plain user ------------------------------------------------------------------------
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    mkdir "$work/p" && chown 65534:65534 "$work/p"
    p=$work/p/s
    says "a plain user starts a cluster" '2 nodes' \
        plain "$work/cluster.sh" up "$p" --nodes 2
    says "... whose tasks are the user's" '^65534$' plain env \
        SLURM_CONF="$p/slurm.conf" srun -N2 id -u
    holds "... a node dies" plain "$work/cluster.sh" kill-node "$p" node2
    holds "... and comes back" plain "$work/cluster.sh" start-node "$p" node2
    holds "... and it ends" plain "$work/cluster.sh" down "$p"
    holds "... and leaves nothing behind" nothing_left "$p"
fi

exit $failed
