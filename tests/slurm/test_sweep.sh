#!/bin/bash
# 'sweep --slurm' on a cluster of four nodes with two workers each: the same
# results as here, whatever dies; what the driver costs.  Finds the program in
# $BIN; prints "ok - NAME" lines.  About 3 min.
# shellcheck disable=SC2317 # "holds" calls
set -uo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
m=${BIN:-$here/../../build/bin/mutransfer}
failed=0

if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    printf '[  SKIPPED ] 1 test(s): no slurmctld, or no munged\n'
    exit 0
fi

# Not in $TMPDIR, which may be long.
work=$(mktemp -d /tmp/mutransfer-sweep.XXXXXX)
state=$work/cluster
export XDG_STATE_HOME=$work/state
cluster() {
    "$here/cluster.sh" "$1" "$state" "${@:2}" >>"$work/cluster.log" 2>&1
}
cleanup() {
    cluster down
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
# holds NAME COMMAND...
holds() {
    local name=$1

    shift
    if "$@"; then
        ok "$name"
    else
        not_ok "$name" "failed: $*" "$(tail -n 8 err.txt 2>/dev/null)"
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

if ! cluster up --nodes 4; then
    not_ok 'a cluster of four nodes starts' "$(tail -n 3 cluster.log)"
    exit 1
fi
eval "$("$here/cluster.sh" env "$state")"

# 12 trials of 3 s, a checkpoint every half second.
cat >sweep.yaml <<'EOF'
silence_s: 4
parameters:
  train.lr: [2^-7, 2^-6, 2^-5]
  train.steps: 30
  train.batch: 4
  model.seq: 16
  model.layers: 1
  model.experts: 4
  mup.base_width: 32
  data.valid_sequences: 4
  checkpoint.every: 5
  drill.slow: rank 0 ms 100
  slurm.nodes: 4
  slurm.ranks_per_node: 2
  slurm.time_min: 10
groups:
  model.width: [32, 64]
seeds: [1, 2]
EOF

# sweep DIR [ARG...]: in the job; its exit code.
sweep() {
    "$m" sweep sweep.yaml --slurm -o "$@" >out.txt 2>err.txt </dev/null
}
# detached DIR [ARG...]: waits until all eight workers have saved something.
detached() {
    sweep "$@" --detach && until_true 30 saved "$1"
}
saved() { # DIR [TRIALS]
    [ "$(grep -sl '"checkpoint"' "$1"/trials/*/events.jsonl | wc -l)" -ge \
        "${2:-8}" ]
}
journal() { # DIR EVENT: how many
    grep -c "\"event\":\"$2\"" "$1/launch.jsonl"
}
# What a trial came to, and how often each was begun.
results() {
    cut -d, -f1,3-14 "$1/trials.csv"
}
same_as_here() {
    [ "$(results "$1")" = "$(results here)" ]
}
lines() {
    cat "$1"/trials/*/metrics.jsonl | wc -l
}
attempts() {
    awk -F, 'NR > 1 { n += $17 } END { print n }' "$1/trials.csv"
}
again() { # DIR: trials that were begun more than once
    awk -F, 'NR > 1 && $17 > 1' "$1/trials.csv" | wc -l
}
ended() {
    [ "$(journal "$1" ended)" = 1 ]
}
job_of() {
    grep -o '"job":[0-9]*' "$1/launch.jsonl" | tail -n 1 | cut -d: -f2
}
no_job() {
    [ -z "$(squeue -h -o %i)" ]
}
driver_of() {
    grep '"supervisor"' "$1/launch.jsonl" | tail -n 1 |
        grep -o '"pid":[0-9]*' | cut -d: -f2
}

"$m" sweep sweep.yaml -o here -j 12 >out.txt 2>err.txt ||
    not_ok 'the sweep runs here' "$(tail -n 3 err.txt)"

# ---- the same elsewhere --------------------------------------------------------
sweep calm
holds 'a sweep on four nodes of two workers ends well' [ $? = 0 ]
holds 'its results are those of the same sweep here, bit for bit' \
    same_as_here calm
holds 'every trial was begun once' [ "$(attempts calm)" = 12 ]
holds 'all eight workers have worked' [ "$(grep -o '"done":[1-9]' \
    calm/workers.json | wc -l)" = 8 ]
sweep calm
holds 'the same command says that the sweep has ended' [ $? = 0 ]
holds '... and submits no second job' [ "$(journal calm submitted)" = 1 ]
sweep calm --sweep.seeds=1,2,3
holds 'a sweep that grew is submitted again' [ "$(journal calm submitted)" = 2 ]
holds '... and trains what is new alone' [ "$(attempts calm)" = 18 ]
sweep calm --train.batch=8
holds 'another study is refused before a job is asked for' [ $? = 2 ]
holds '... which no journal knows' [ "$(journal calm submitting)" = 2 ]

# ---- what dies -----------------------------------------------------------------
# died NAME DIR LOST: all trials have their results, LOST were begun again.
died() {
    until_true 60 ended "$2"
    holds "$1: all trials end" ended "$2"
    holds "$1: results are those of the same sweep here" same_as_here "$2"
    holds "$1: its own trials alone are begun again" [ "$(again "$2")" = "$3" ]
}
resumed() { # DIR: each second attempt went on from a checkpoint
    [ "$(cat "$1"/trials/*/events.jsonl | grep -c '"resume"')" = "$(again "$1")" ]
}

detached killed
cluster kill-node node3
died 'a node is killed' killed 2
holds 'a node is killed: they go on from their last checkpoint' resumed killed
cluster start-node node3

# The first node has the driver, too; the fourth one takes its place.
# Without its sentinels, of which there are none in the first second, the job
# would stand still until its time is over.
watched() { # DIR N
    [ "$(pgrep -cf "^[^ ]*/mutransfer sentinel $work/$1")" = "$2" ]
}
sweep first --slurm.nodes=3 --detach
until_true 30 saved first 6
until_true 30 watched first 3
cluster kill-node node1
until_true 90 ended first
holds 'the first node is killed: all trials end' ended first
holds '... with the results of the same sweep here' same_as_here first
holds '... and the node is ejected' [ "$(journal first ejected)" = 1 ]
until_true 60 no_job
cluster start-node node1
rm -rf "$XDG_STATE_HOME"

detached hung
cluster stop-node node4
died 'a node hangs' hung 2
cluster cont-node node4
until_true 30 no_job
holds 'a node that wakes up late changes nothing' same_as_here hung
holds '... and adds no line to what a trial tells' \
    [ "$(lines hung)" = "$(lines here)" ]
cluster start-node node4

detached step
kill -9 "$(pgrep -P "$(driver_of step)" -f -- '-w node2' | head -n 1)"
died 'one srun is killed' step 1

# ---- the job ends ----------------------------------------------------------------
detached cancelled
scancel "$(job_of cancelled)"
until_true 30 no_job
holds 'a cancelled job leaves trials without a result' \
    [ "$(journal cancelled ended)" = 0 ]
sweep cancelled
holds 'the same command goes on' [ $? = 0 ]
holds '... to the same results' same_as_here cancelled

detached limit
scancel --batch --signal=USR1 "$(job_of limit)"
until_true 60 ended limit
holds 'a job whose time is over is queued again' \
    [ "$(journal limit requeued) $(journal limit supervisor)" = '1 2' ]
holds '... loses no step' resumed limit
holds '... and ends with the same results' same_as_here limit

is_kept() { # the controller has saved the job
    grep -q mutransfer "$state/ctld/job_state"
}
detached wished --drill.slow='rank 0 ms 1000'
until_true 15 is_kept
cluster kill-ctld
"$m" cancel wished --no-wait >out.txt 2>err.txt
until_true 40 ended wished
holds 'a cancelled sweep needs no controller to hear of it' ended wished
holds '... and has saved its trials' grep -q '"ended".*"status":7' \
    wished/launch.jsonl
cluster start-ctld
until_true 30 no_job

# ---- the client -----------------------------------------------------------------
timeout --preserve-status -s INT 4 "$m" sweep sweep.yaml --slurm -o left >out.txt 2>err.txt
holds 'Ctrl-C ends watching alone' [ $? = 0 ]
sweep left
holds 'the same command watches the job that runs' \
    [ "$? $(journal left submitted) $(journal left adopted)" = '0 1 1' ]
holds '... whose results are the same' same_as_here left
until_true 30 no_job

# ---- an array of small jobs -----------------------------------------------------
array=(--slurm.array=yes)
sweep array "${array[@]}"
holds 'an array of eight jobs gives the same results' same_as_here array
holds '... with all its workers' [ "$(grep -o '"done":[1-9]' \
    array/workers.json | wc -l)" = 8 ]
until_true 30 no_job

detached torn "${array[@]}"
cluster kill-node node3
died 'a node of an array is killed' torn 2
cluster start-node node3
until_true 60 no_job

# ---- what the driver costs ---------------------------------------------------------
# 200 trials of 1 s that need no processor.
sed -e 's/2^-7, 2^-6, 2^-5/0.01, 0.011, 0.012, 0.013, 0.014/' \
    -e 's/steps: 30/steps: 10/; s/every: 5/every: 0/' \
    -e "s/\[1, 2\]/[$(seq -s, 40)]/; s/\[32, 64\]/[32]/" sweep.yaml >many.yaml
# costs DIR ARG...: wall time of the job over the trials' own time on eight
# workers.
costs() {
    "$m" sweep many.yaml --slurm -o "$@" >out.txt 2>err.txt || return
    {
        awk -F, 'NR > 1 { s += $16 } END { print s / 8 }' "$1/trials.csv"
        grep -o '"wall_s":[0-9.]*' "$1/launch.jsonl" | cut -d: -f2
    } | paste -sd' ' | awk '{ printf "%.3f", $2 / $1 }'
}
for how in no yes; do
    ratio=$(costs "many-$how" --slurm.array=$how)
    holds "200 trials of a second end well (slurm.array=$how)" [ $? = 0 ]
    printf '200 trials on 8 workers, slurm.array=%s: %s of their own time\n' \
        $how "$ratio"
    if [ -n "${MUTRANSFER_SOAK:-}" ]; then
        holds '... at a cost of less than 20 %' \
            awk "BEGIN { exit !($ratio < 1.2) }"
    fi
    until_true 30 no_job
done

exit $failed
