#!/bin/bash
# Nodes that are found bad before ranks start on them, and what becomes of them
# afterwards.  Prints "ok - NAME" lines.
#   tests/slurm/test_preflight.sh [NAME...]    all, or those
# shellcheck source=tests/slurm/harness.sh disable=SC2317,SC2016,SC2048,SC2086,SC2030,SC2031,SC2119
. "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

short=(--train.steps=10 "--drill.slow=")
list=$XDG_STATE_HOME/mutransfer/ejected.jsonl

# The nodes that the run has ejected.
ejected() {
    sed -n 's/.*"event":"ejected".*"node":"\([^"]*\)".*/\1/p' \
        "$dir/launch.jsonl" | xargs
}
# alone NAME NODE: that one was ejected, no other.
alone() {
    if [ "$(ejected)" = "$2" ]; then
        ok "$1"
    else
        not_ok "$1" "ejected: $(ejected)" "$(tell)"
    fi
}
# quick NAME: the check took less than half a minute.
quick() {
    local s

    s=$(number seconds "$(grep '"preflight"' "$dir/launch.jsonl" | head -n 1)")
    printf '#   the check took %s s\n' "${s:-?}"
    if awk "BEGIN { exit !(${s:-99} < 30) }"; then
        ok "$1"
    else
        not_ok "$1" "$(tell)"
    fi
}
is_idle() {
    [ "$(sinfo -h -n "$1" -p main -o %t)" = idle ]
}
# A person repairs the node.
repair() {
    scontrol update nodename="$1" state=resume
    until_true 20 is_idle "$1"
}

unbroken() {
    begin whole "${short[@]}"
    finish
    ended "a run on good nodes comes to its end" 0
    quick "they were checked within 30 s"
    alone "none is ejected" ""
}

# found KIND PATTERN: node3 alone is bad in that way; the entry in the list is
# over by the time that the next of them runs, which needs the node again.
found() {
    begin "$1" "${short[@]}" --drill.preflight="node node3 $1" \
        --recover.preflight_s=6 --recover.eject_h=0.001
    finish
    ended "a run with a node of the kind '$1' comes to its end" 0
    alone "... which is ejected, alone" node3
    says "... with the reason" launch.jsonl "\"ejected\".*$2"
    says "... and takes no part" launch.jsonl \
        '"incarnation":1,"nodes":\["node1","node2","node4"\],"spares":\[\]'
    quick "... found within 30 s"
    as_whole "... with the losses of the unbroken run"
    repair node3
}
slow() {
    found slow 'GFLOP/s, the median'
}
bits() {
    found bits 'product'
}
hang() {
    found hang 'no answer that can be read, or none in time'
}
unreadable() {
    found unreadable 'no answer that can be read'
}
disk() {
    found disk 'came back changed'
}
clock() {
    found clock 'clock'
}
device() {
    found device 'GPU'
}

full() {
    if ! cluster fill-disk "$state" node3 >full.out 2>&1; then
        printf '# a full disk: %s\n' "$(cat full.out)"
        return
    fi
    TMPDIR=$MUTRANSFER_NODE_DISK begin full "${short[@]}" --recover.eject_h=0.001
    finish
    cluster free-disk "$state" node3
    ended "a run with a full disk on one node comes to its end" 0
    alone "... which is ejected, alone" node3
    says "... with a sentence" job.log \
        "node3 is ejected for .*: the disk of '.*' is full on this node; make room"
    as_whole "... with the losses of the unbroken run"
    repair node3
}

# What other runs see of it.
others() {
    begin others "${short[@]}" --drill.preflight="node node3 bits"
    finish
    ended "a run ejects a node" 0
    if sinfo -h -R -o '%E %n' | grep -q '^mutransfer: .*product.* node3'; then
        ok "... and drains it, with the reason"
    else
        not_ok "... and drains it, with the reason" "$(sinfo -R)"
    fi
    says "... which the journal says" launch.jsonl '"ejected".*"drained":true'
    repair node3 # to SLURM: the list alone keeps it out from here on
    dir=$work/dry
    "$m" launch base.yaml --slurm -n -o "$dir" --spares=0 >"$dir.out" 2>&1
    if grep -qE 'left out: node3, ejected for .* more \(node\): .*product' \
        "$dir.out"; then
        ok "the next run says that it is left out, and why"
    else
        not_ok "the next run says that it is left out, and why" \
            "$(cat "$dir.out")"
    fi
    begin next "${short[@]}" --slurm.spares=0
    finish
    ended "the next run comes to its end" 0
    says "... without that node" launch.jsonl \
        '"supervisor".*"nodes":\["node1","node2","node4"\]'
    begin wide "${short[@]}"
    finish
    ended "a run that needs it is refused" 2
    if grep -q "has 4, 1 of them left out" "$dir.err"; then
        ok "... with a sentence"
    else
        not_ok "... with a sentence" "$(tell)"
    fi
    sed -i 's/"until":[0-9]*/"until":1/; s/"until_unix_s":[0-9]*/"until_unix_s":1/' \
        "$list"
    begin expired "${short[@]}"
    finish
    ended "a run after the entry's time comes to its end" 0
    says "... with the node" launch.jsonl '"supervisor".*"node3"'
}

# More nodes are bad at once than may be ejected: then it is none of them.
half() {
    cluster fill-disk "$state" node2 >full.out 2>&1 || return 0
    TMPDIR=$MUTRANSFER_NODE_DISK begin half "${short[@]}" \
        --drill.preflight="node node3 bits" --recover.max_ejected=1
    finish
    cluster free-disk "$state" node2
    ended "a run with half of its nodes bad ends" 4
    says "... with a sentence" launch.jsonl \
        '"ended".*2 of 4 nodes fail the check .* none is ejected; node. says: '
    alone "... and ejects none" ""
}

# One is bad before the start, one dies later: more than a run may eject.
cap() {
    begin cap --drill.preflight="node node3 bits" --recover.max_ejected=1
    at_step 30
    cluster kill-node "$state" node2
    finish
    ended "a run with more bad nodes than may be ejected ends" 4
    says "... with a sentence" launch.jsonl \
        '"ended".*no more nodes may be ejected \(recover.max_ejected\)'
    if [ "$(wc -l <"$list")" = 1 ]; then
        ok "... and the list has as many as may be"
    else
        not_ok "... and the list has as many as may be" "$(cat "$list")"
    fi
    cluster start-node "$state" node2 >/dev/null
    repair node3
}

# Somebody who may not drain nodes, with a folder and a program of his own.
plain() {
    local user=nobody home=$work/home

    if [ "$(id -u)" != 0 ] || ! command -v setpriv >/dev/null; then
        printf '# another user: root alone can become one\n'
        return
    fi
    chmod 755 "$work"
    install -d -o $user "$home"
    install -m 755 "$m" "$home/program"
    install -m 644 base.yaml "$home"
    (
        cd "$home" || exit 1
        export HOME=$home XDG_STATE_HOME=$home
        setpriv --reuid="$user" --regid="$(id -g $user)" --clear-groups \
            ./program launch base.yaml --slurm -o plain "${short[@]}" \
            --drill.preflight="node node3 bits" >../plain.out 2>../plain.err
    )
    code=$?
    dir=$home/plain
    ended "a run of a user without rights comes to its end" 0
    alone "... a bad node is ejected" node3
    says "... not drained, as the journal says" launch.jsonl \
        '"ejected".*"node3".*"drained":false'
    if ! sinfo -h -n node3 -o %t | grep -q drain &&
        grep -q node3 "$home/mutransfer/ejected.jsonl"; then
        ok "... and in the list alone"
    else
        not_ok "... and in the list alone" "$(sinfo -N)"
    fi
    as_whole "... with the losses of the unbroken run"
}

cluster up "$state" --nodes 4 >/dev/null || exit 1
eval "$(cluster env "$state")"
for name in ${*:-unbroken slow bits hang unreadable disk clock device full \
    others half cap plain}; do
    rm -rf "$XDG_STATE_HOME"
    began=$SECONDS
    "$name"
    printf '# %s: %d s\n' "$name" $((SECONDS - began))
done
exit $failed
