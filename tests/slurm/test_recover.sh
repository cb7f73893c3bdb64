#!/bin/bash
# Faults of a run under SLURM that it recovers from inside of its job; every
# one leaves the loss curve of the unbroken run.  Prints "ok - NAME" lines.
#   tests/slurm/test_recover.sh [NAME...]    all, or those
# shellcheck source=tests/slurm/harness.sh
. "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

unbroken() {
    begin whole
    finish
    ended "an unbroken run comes to its end" 0
    says "and has trained all steps" events.jsonl '"done".*"step": ?240'
}

node() {
    begin node --drill.slow="rank 0 ms 40"
    at_step 70
    cluster kill-node "$state" node2
    finish
    ended "a run whose node died comes to its end" 0
    says "the node is named as dead" launch.jsonl '"failure".*"class":"node","node":"node2"'
    says "and ejected" launch.jsonl '"ejected".*"node2"'
    recovered 10
    as_whole "with the losses of the unbroken run"
}

hung() {
    begin hung --drill.stop="rank 1 step 90" --recover.step_s=2
    finish
    ended "a run with a stopped rank comes to its end" 0
    says "the rank that hangs is named" launch.jsonl '"failure".*"class":"hung".*"rank":1'
    says "with where it waits" launch.jsonl '"stack":"'
    recovered 10
    as_whole "with the losses of the unbroken run"
}

# One bit of a weight, on one rank: the guard names it and goes back before it,
# the node is left.
flipped() {
    begin flipped --run.verify_every=10 \
        --drill.flip="rank 1 step 90 weight blocks.0.moe.up bit 20"
    finish
    ended "a run in which a bit flipped comes to its end" 0
    says "the rank that damaged data is named" launch.jsonl \
        '"failure".*"class":"corrupt".*rank 1 .*damaged data in step 90'
    says "its node is ejected" launch.jsonl '"ejected".*"class":"corrupt"'
    recovered 10
    as_whole "with the losses of the unbroken run"
}

killed() {
    begin killed --drill.kill="rank 2 step 90"
    finish
    ended "a run with a killed rank comes to its end" 0
    says "the signal is named" launch.jsonl 'killed by signal 9'
    as_whole "with the losses of the unbroken run"
}

limit() {
    begin limit --slurm.time_min=1 --slurm.signal_s=50 --drill.slow="rank 0 ms 120"
    finish
    ended "a run that needs two jobs comes to its end" 0
    parts
    says "it was queued again" launch.jsonl '"requeued"'
    as_whole "with the losses of the unbroken run"
}

batch() {
    # the fourth node takes the place of the dead one
    begin batch --slurm.spares=0
    at_step 70
    cluster kill-node "$state" node1
    finish
    ended "a run that lost its batch host comes to its end" 0
    parts # the queue has no limit of ours
    as_whole "with the losses of the unbroken run"
}

cancelled() {
    begin cancelled --drill.slow="rank 0 ms 40"
    at_step 70
    "$m" cancel "$dir" >cancel.out 2>&1
    finish
    ended "a cancelled run ends with its state saved" 7
    begin cancelled
    finish
    ended "and the same command continues it" 0
    as_whole "with the losses of the unbroken run"
}

# ---- before any rank trains --------------------------------------------------

# is_checking: its nodes are, of which one takes seconds to answer.
is_checking() {
    grep -q '"phase":"checking"' "$dir/launch.json"
}
exit_code() {
    scontrol show job "$(job)" | sed -n 's/.*ExitCode=\([0-9:]*\).*/\1/p'
}

# The agents are asked for things until the loop is over.
early() {
    begin early --drill.preflight="node node2 hang" --recover.preflight_s=8
    until_true 30 is_checking
    scancel --batch --signal=TERM "$(job)"
    finish
    ended "a run whose nodes are wanted during the check stops" 7
    [ "$(exit_code)" = 7:0 ] && ok "and its supervisor says so itself" ||
        not_ok "and its supervisor says so itself" "$(exit_code)" "$(tell)"
}

# A start by hand, or another supervisor, has taken the number meanwhile.
taken() {
    begin taken --drill.preflight="node node2 hang" --recover.preflight_s=5
    until_true 30 is_checking
    echo 1 >"$dir/incarnation"
    finish
    ended "a run that somebody else has started meanwhile is left to him" 4
    [ ! -e "$dir/metrics.jsonl" ] && ok "and no rank has trained" ||
        not_ok "and no rank has trained" "$(tell)"
}

everywhere() {
    begin everywhere --recover.preflight_s=1
    finish
    ended "a fault of all nodes ends the run" 4
    says "with a sentence" launch.jsonl '"ended".*4 of 4 nodes fail the check'
    [ ! -e "$XDG_STATE_HOME/mutransfer/ejected.jsonl" ] &&
        ok "and no node is ejected for it" ||
        not_ok "and no node is ejected for it" "$(tell)"
}

unstarted() {
    mkdir -p bin
    printf '#!/bin/sh\necho "srun: error: no step today" >&2\nexit 1\n' \
        >bin/srun
    chmod +x bin/srun
    PATH=$work/bin:$PATH begin unstarted
    finish
    ended "a run whose srun fails ends" 4
    says "with what srun said" launch.jsonl '"ended".*no step today'
    [ ! -e "$XDG_STATE_HOME/mutransfer/ejected.jsonl" ] &&
        ok "and no node is ejected for it" ||
        not_ok "and no node is ejected for it" "$(tell)"
}

cluster up "$state" --nodes 4 >/dev/null || exit 1
eval "$(cluster env "$state")"
# `make test` has time for the first ones
names="unbroken node cancelled"
[ -z "${MUTRANSFER_SOAK:-}" ] ||
    names="unbroken node hung flipped killed cancelled batch limit early \
        taken everywhere unstarted"
for name in ${*:-$names}; do
    fresh
    "$name"
done
exit $failed
