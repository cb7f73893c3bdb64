#!/bin/bash
# launch --slurm against a real controller: what is asked of it, and what the
# client does when it, the job or the client itself dies.  In place of the
# supervisor runs a stand-in that writes what one would: slurm.setup starts it.
# Finds the program in $BIN; prints "ok - NAME" lines.  About 90 s.
set -uo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
m=${BIN:-$top/build/bin/mutransfer}
tiny=$top/configs/tiny.yaml
failed=0

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    printf '[  SKIPPED ] 1 test(s): no slurmctld, or no munged\n'
    exit 0
fi

work=$(mktemp -d /tmp/mutransfer-submit.XXXXXX)
state=$work/c

cluster() {
    "$here/cluster.sh" "$@"
}
cleanup() {
    cluster down "$state" >/dev/null
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
# holds NAME COMMAND...: and what it printed where not.
holds() {
    local name=$1 out

    shift
    if out=$("$@" 2>&1); then
        ok "$name"
    else
        not_ok "$name" "$* says:" "$out" "$(tail -n 20 err.txt 2>/dev/null)"
    fi
}
# ended NAME CODE PATTERN: how the client ended, and what it said.
ended() {
    if [ "$code" != "$2" ]; then
        not_ok "$1" "exit code $code, expected $2" "$(cat out.txt err.txt)"
    elif ! cat out.txt err.txt | grep -E -- "$3" >/dev/null; then
        not_ok "$1" "no '$3' in:" "$(cat out.txt err.txt)"
    else
        ok "$1"
    fi
}
# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))

    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

# ---- the stand-in ---------------------------------------------------------------
# It says what its folder's file "plan" wants, once "go" is there.
cat >stand-in.sh <<'END'
#!/bin/bash
dir=$1
say() {
    printf '{"event":"%s","time":%s%s}\n' "$1" "$EPOCHREALTIME" "$2" \
        >>"$dir/launch.jsonl"
}
say supervisor ",\"job\":$SLURM_JOB_ID,\"restart\":${SLURM_RESTART_COUNT:-0},\"nodes\":[\"$SLURMD_NODENAME\"]"
until [ -e "$dir/go" ]; do
    printf '{"time":%s,"phase":"training","step":3,"steps":50,"loss":3.5,"tokens_per_s":1000,"eta_s":9,"incarnation":1}\n' \
        "$EPOCHREALTIME" >"$dir/launch.json.new"
    mv "$dir/launch.json.new" "$dir/launch.json"
    sleep 0.2
done
case $(<"$dir/go") in
fail) echo "it is no supervisor"; exit 3 ;;
bad) say ended ',"status":4,"text":"no node is left"' ;;
*) say ended ',"status":0,"text":"trained 50 steps","trained_s":1,"wall_s":2' ;;
esac
END

# prepare NAME: the folder of a run, and what its job starts.
prepare() {
    dir=$work/$1
    mkdir -p "$dir"
    printf 'exec bash %q %q\n' "$work/stand-in.sh" "$dir" >"$work/$1.setup"
    run=(launch "$tiny" --slurm -o "$dir" --slurm.setup="$work/$1.setup"
        --recover.exclude_file="$work/ejected.jsonl" --slurm.by="$by")
}
launch() { # ARG...
    code=0
    timeout 60 "$m" "${run[@]}" "$@" >out.txt 2>err.txt </dev/null || code=$?
}
begin() { # ARG...: in the background
    "$m" "${run[@]}" "$@" >out.txt 2>err.txt </dev/null &
    client=$!
}
finish() {
    code=0
    wait "$client" || code=$?
}
go() {
    echo "${1:-well}" >"$dir/go"
}
events() { # NAME: how many
    grep -c "\"event\":\"$1\"" "$dir/launch.jsonl" 2>/dev/null
}
has_events() { # NAME N
    [ "$(events "$1")" = "$2" ]
}
job_id() { # the newest that was submitted
    sed -n 's/.*"event":"submitted".*"job":\([0-9]*\).*/\1/p' \
        "$dir/launch.jsonl" | tail -n 1
}
queue() {
    squeue -h -o '%i %T %j'
}
# Fill all nodes, and keep the controller's state once it has saved that.
fill_nodes() {
    sbatch -J blocker -N 4 --exclusive -t 5 -o /dev/null \
        --wrap 'sleep 100' >/dev/null
    until_true 20 eval 'queue | grep -q RUNNING'
    sleep 6
    rm -rf "${work:?}/ctld.before"
    cp -a "$state/ctld" "$work/ctld.before"
}
queue_is_empty() {
    [ -z "$(queue)" ]
}
jobs_are() { # N
    [ "$(queue | wc -l)" = "$1" ]
}

cluster up "$state" --nodes 4 >/dev/null || exit 1
eval "$(cluster env "$state")"

# ---- before anything runs ---------------------------------------------------------
by=auto
prepare dry
rmdir "$dir"
launch -n --nodes 2 --spares 1
ended "a dry run shows the script" 0 '^#SBATCH --nodes=3$'
ended "... the cost" 0 'at most 3 node-hours, 3 CPU-hours'
ended "... and the partition" 0 "partition 'main' .* 4 nodes, 4 usable"
sed -n '/^#!/,$p' out.txt >script.sh
holds "... which sbatch takes" sbatch --test-only script.sh
holds "... and leaves no folder" test ! -e "$dir"
holds "... and no job" queue_is_empty
launch -n --json
ended "a dry run speaks JSON" 0 '"node_hours": 1.0'

refused() { # NAME PATTERN ARG...
    local name=$1 pattern=$2

    shift 2
    launch "$@"
    ended "$name" 2 "^mutransfer launch: $pattern"
    [ "$(wc -l <err.txt)" = 1 ] || not_ok "... in one sentence" "$(cat err.txt)"
}
refused "9 nodes of 4 are refused" "the job wants 9 nodes" --nodes 9
refused "a missing partition names those that there are" \
    "there is no partition 'nope'; there are main, short" \
    --slurm.partition=nope
refused "a job longer than the partition's limit is refused" \
    "the job wants 3 min, and partition 'short' gives at most 2" \
    --slurm.time_min=3 --slurm.partition=short
refused "more CPUs than a node has are refused" "the job wants 3 CPUs" \
    --slurm.cpus_per_rank=3
refused "a typo in a key is refused" "unknown key 'slurm.node'" --slurm.node=2
refused "ranks that the layout cannot use are refused" ".*parallel.data" \
    --nodes 2 --parallel.data=3
holds "... all without a job" queue_is_empty

# ---- a run to its end, by both ways -------------------------------------------------
for by in libslurm tools; do
    if [ $by = libslurm ] &&
        ! "$m" doctor --json | grep '"slurm_library": true' >/dev/null; then
        printf '[  SKIPPED ] 1 test(s): libslurm is not in this build\n'
        continue
    fi
    prepare "well-$by"
    go
    launch --slurm.exclude=node4,node99
    ended "a run ends with its sentence, by $by" 0 '^trained 50 steps$'
    ended "... unknown nodes are not excluded" 0 "does not have: node99"
    ended "... and its job was announced" 0 'job [0-9]+ runs on node'
    launch
    ended "... the same command says so again" 0 'has ended already'
    holds "... without another job" has_events submitted 1
    prepare "bad-$by"
    go bad
    launch --json
    ended "a run that fails has its status, by $by" 4 'no node is left'
    ended "... in JSON too" 4 '"status": 4'
    rm "$dir/go"
    go
    launch
    ended "... and the same command continues it" 0 'trained 50 steps'
done
by=auto
prepare silent
go fail
launch
ended "a job that fails in silence shows its last words" 3 'it is no supervisor'
ended "... and its exit status" 3 'ended with exit status 3 .FAILED.'

# ---- clients that die ------------------------------------------------------------------
prepare killed
begin
until_true 20 has_events supervisor 1
kill -9 $client
finish 2>/dev/null
launch --detach
ended "after kill -9 of the client the same command finds the job" 0 "^$(job_id)$"
holds "... and submits none" jobs_are 1
sed -i '/"event":"submitted"/d' "$dir/launch.jsonl"
launch --detach --json
ended "a client that died before it wrote the number finds the job" 0 \
    '"adopted": true'
holds "... and submits none" jobs_are 1
begin
until_true 20 grep -q 'step 3/50 .* eta' err.txt
kill -INT $client
finish
ended "Ctrl-C ends watching alone" 0 'goes on without this command'
holds "... the job goes on" jobs_are 1
begin
until_true 20 has_events adopted 4
launch
ended "a second client is refused" 2 'already run by process'
go
finish
ended "... the first one sees the end" 0 ''
until_true 20 queue_is_empty

# ---- controllers that die -----------------------------------------------------------------
prepare outage
begin
until_true 20 has_events supervisor 1
cluster kill-ctld "$state"
sleep 5
cluster start-ctld "$state"
go
finish
ended "a controller that is away for 5 s has no effect" 0 'results in'
holds "... nothing is submitted again" has_events submitted 1
until_true 20 queue_is_empty

# A controller that dies right after it took a job has not saved it: that state
# is put back.  The lost job waited for others, as one that runs is known to
# its node.
lose_job() {
    cluster kill-ctld "$state"
    rm -rf "${state:?}/ctld"
    cp -a "$work/ctld.before" "$state/ctld"
    cluster start-ctld "$state"
    sbatch -J other -N 4 -t 5 -o /dev/null --wrap 'sleep 100' >other.txt
}
fill_nodes
prepare lost
begin
until_true 20 has_events submitted 1
lost=$(job_id)
lose_job
holds "the number of a lost job is somebody else's" \
    grep -q " $lost\$" other.txt
until_true 30 has_events submitted 2
holds "a job that the controller lost is submitted again" \
    grep -q '"again": *1' "$dir/launch.jsonl"
scancel -n blocker
scancel -n other
go
finish
ended "... and comes to its end" 0 'trained 50 steps'
holds "... once" has_events submitted 2
until_true 20 queue_is_empty

fill_nodes
prepare twice
begin
until_true 20 has_events submitted 1
lose_job
until_true 30 has_events submitted 2
lose_job
finish
ended "a run that is lost twice is given up" 4 'the second that it lost'
holds "... without a third job" has_events submitted 2
scancel -u "$(id -un)"
until_true 20 queue_is_empty

# ---- jobs that others end or hold -----------------------------------------------------------
prepare cancelled
begin
until_true 20 has_events supervisor 1
scancel "$(job_id)"
until_true 30 has_events submitted 2
until_true 20 has_events supervisor 2
go
finish
ended "a job that others cancel is submitted again" 0 'trained 50 steps'
ended "... and the reason is told" 0 'was cancelled from outside'
holds "... once" has_events submitted 2
until_true 20 queue_is_empty

prepare unwanted
begin
until_true 20 has_events supervisor 1
printf '{"event":"wish","time":1,"wish":"cancel"}\n' >>"$dir/launch.jsonl"
scancel "$(job_id)"
finish
ended "a run that is cancelled on purpose is not" 7 'the run is cancelled'
holds "... submitted again" has_events submitted 1

prepare held
sbatch -J blocker -N 4 --exclusive -t 5 -o /dev/null --wrap 'sleep 100' >/dev/null
begin
until_true 20 has_events submitted 1
scontrol hold "$(job_id)"
until_true 20 grep -q 'is held and does not start' err.txt
scontrol release "$(job_id)"
scancel -n blocker
go
finish
ended "a held job is reported, and what lets it start" 0 "'scontrol release"

exit $failed
