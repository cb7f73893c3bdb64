#!/bin/bash
# Faults of a run under SLURM, one after the other: those that test_recover.sh
# leaves, and what is no fault and must not be taken for one.  Prints "ok - NAME"
# lines.
#   tests/slurm/test_rows.sh [NAME...]    all, or those; as_whole needs unbroken
# shellcheck source=tests/slurm/harness.sh disable=SC2317,SC2016,SC2048,SC2086,SC2030,SC2031
. "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

# never NAME FILE PATTERN: no line of the run's file matches.
never() {
    if [ -s "$dir/$2" ] && ! grep -qE -- "$3" "$dir/$2"; then
        ok "$1"
    else
        not_ok "$1" "$(grep -E -- "$3" "$dir/$2")" "$(tell)"
    fi
}
# seen NAME PATTERN: status answers at once each time that it is asked, and
# within 10 s says so.
seen() {
    local end=$((SECONDS + 10)) text="" began worst=0 took

    until grep -qE -- "$2" <<<"$text"; do
        began=${EPOCHREALTIME/./}
        if ! text=$("$m" status "$dir" 2>&1 && "$m" status "$dir" --json 2>&1); then
            not_ok "$1" "status fails:" "$text"
            return
        fi
        took=$((${EPOCHREALTIME/./} - began))
        [ $took -le $worst ] || worst=$took
        [ $SECONDS -lt $end ] || break
    done
    printf '#   status answered within %d ms\n' $((worst / 1000))
    if grep -qE -- "$2" <<<"$text" && [ $worst -lt 5000000 ]; then
        ok "$1"
    else
        not_ok "$1" "no '$2' in:" "$text"
    fi
}
hits() { # FILE PATTERN
    grep -qE -- "$2" "$dir/$1"
}

unbroken() {
    begin whole
    finish
    ended "an unbroken run comes to its end" 0
    says "its slow rank is named within 20 steps" job.log 'rank 0 is slow'
    never "... and no other" job.log 'rank [1-9] is slow'
}

# Nothing is wrong with it: no alarm, nobody is slow, in 1,000 steps.
clean() {
    begin clean --train.steps=1000 --run.verify_every=10 --drill.slow= \
        --checkpoint.every=250
    finish
    ended "1,000 steps with all looks for damage come to their end" 0
    never "... without alarm" events.jsonl '"corruption"|"verdict"'
    never "... without failure" launch.jsonl '"failure"'
    never "... and nobody is called slow" job.log 'is slow'
}

# ---- checkpoints -----------------------------------------------------------------
slow_save() {
    begin slow_save --drill.slow_write="rank 1 ms 60" --checkpoint.every=80 \
        --recover.step_s=1
    finish
    ended "a run whose checkpoints are slow to write comes to its end" 0
    never "... and is not taken for hung" launch.jsonl '"failure"'
    as_whole "... with the losses of the unbroken run"
}

newest() { # the file of rank 1 in the newest checkpoint
    find "$dir/checkpoints" -path '*/step-*/rank-0001-*' | sort | tail -n 1
}

is_saving() {
    find "$dir/checkpoints" -name '.*step-*' -o -name 'writing*' | grep -q .
}

# The newest checkpoint is cut short, later one of its bits flips.
damaged() {
    local file

    begin damaged
    at_step 50
    "$m" cancel "$dir" >cancel.out 2>&1
    finish
    file=$(newest)
    truncate -s -100 "$file"
    begin damaged
    at_step 110
    "$m" cancel "$dir" >cancel.out 2>&1
    finish
    says "a checkpoint that was cut short is not used, and why" log \
        "${file##*/}.* is cut off by the end of its file"
    file=$(newest)
    printf '\377' | dd of="$file" bs=1 seek=5000 conv=notrunc 2>/dev/null
    begin damaged
    finish
    ended "a run with damaged checkpoints comes to its end" 0
    says "a flipped bit is found, and where" log \
        "${file##*/}.* does not match its checksum"
    as_whole "... with the losses of the unbroken run"
}

# kill -9 while it writes.
torn() {
    begin torn --drill.slow_write="rank 1 ms 30" --checkpoint.every=60
    at_step 121
    until_true 20 is_saving
    kill -9 "$(pid_of 1)"
    finish
    ended "a run killed while it saves comes to its end" 0
    says "the signal is named" launch.jsonl \
        '"failure".*"class":"process".*killed by signal 9'
    says "... and goes on from the checkpoint before" events.jsonl \
        '"resume".*"step": ?60'
    as_whole "... with the losses of the unbroken run"
}

# ---- what ends ranks ---------------------------------------------------------------
segv() {
    begin segv
    at_step 70
    kill -SEGV "$(pid_of 1)"
    finish
    ended "a run with a rank that crashed comes to its end" 0
    says "... as an error of the program" launch.jsonl \
        '"failure".*"class":"user".*killed by signal 11'
    never "... for which no node is ejected" launch.jsonl '"ejected"'
    recovered 10
    as_whole "... with the losses of the unbroken run"
}

# Each start can write three checkpoints: it outlives the first that fails and
# ends with the second.
enospc() {
    local bytes

    bytes=$(find "$work/whole/checkpoints" -name 'rank-0001-*.bin' -printf '%s\n' |
        sort -n | tail -n 1)
    begin enospc --drill.fill_disk="rank 1 bytes $((bytes * 7 / 2))"
    finish
    ended "a run whose disk is full now and then comes to its end" 0
    says "... as a failure of the file system" launch.jsonl \
        '"failure".*"class":"files".*No space left'
    never "... for which no node is ejected" launch.jsonl '"ejected"'
    as_whole "... with the losses of the unbroken run"
}

# A trainer that exits with 1 at step 5, always: srun starts it in a shell.
crash_loop() {
    mkdir -p bin
    printf '#!/bin/bash\nexport MUTRANSFER_RUN_DIR=%q\nexport PATH=%q\n' \
        "$work/crash_loop" "$PATH" >bin/srun
    cat >>bin/srun <<'END'
words=()
for word; do
    [ "$word" != train ] || words[-1]="$0.rank ${words[-1]}"
    words+=("$word")
done
# shellcheck disable=SC2086,SC2068 # the shell before its program
exec srun ${words[@]}
END
    cat >bin/srun.rank <<'END'
#!/bin/bash
"$@" &
if [ "$SLURM_PROCID" = 1 ]; then
    until [ "$(wc -l <"$MUTRANSFER_RUN_DIR/metrics.jsonl")" -ge 5 ]; do
        sleep 0.02
    done 2>/dev/null
    kill -9 $!
    echo "cannot go on" >&2
    exit 1
fi
wait
END
    chmod +x bin/srun bin/srun.rank
    printf 'PATH=%q:$PATH\n' "$work/bin" >crash.sh
    begin crash_loop --slurm.setup="$work/crash.sh"
    finish
    ended "a trainer that always fails ends the run" 4
    says "... with the reason" launch.jsonl \
        '"ended".*given up after 3 starts .*recover.attempts.*exit status 1'
    says "... as an error of the program" launch.jsonl '"failure".*"class":"user"'
    if [ "$(grep -c '"event":"incarnation"' "$dir/launch.jsonl")" = 3 ]; then
        ok "... after three starts"
    else
        not_ok "... after three starts" "$(tell)"
    fi
    never "... and no node is ejected" launch.jsonl '"ejected"'
}

strikes() {
    local first

    # without a spare the same node trains again; the job comes back with node4
    begin strikes --slurm.spares=0
    at_step 50
    first=$(node_of 1)
    kill -9 "$(pid_of 1)"
    until_true 20 hits launch.jsonl '"incident"'
    at_step 90
    never "one killed rank costs no node" launch.jsonl '"ejected"'
    kill -9 "$(pid_of 1)"
    finish
    ended "a run with two ranks killed on a node comes to its end" 0
    says "... which is ejected" launch.jsonl \
        "\"ejected\".*\"node\":\"$first\",\"class\":\"process\""
    as_whole "... with the losses of the unbroken run"
    scontrol update nodename="$first" state=resume
    until_true 10 eval '[ "$(sinfo -h -p main -N -o %t | grep -c idle)" = 4 ]'
}

# Ranks that wait for a message in vain cannot tell who is to blame.
network() {
    begin network --drill.stop="rank 1 step 90" --parallel.deadline_s=1 \
        --recover.step_s=30
    finish
    ended "a run whose ranks do not reach each other comes to its end" 0
    says "... as a failure of the network" launch.jsonl '"failure".*"class":"network"'
    if awk '/"failure"/ { f = 1 } f && /"preflight"/ { p = 1 } END { exit !p }' \
        "$dir/launch.jsonl"; then
        ok "... after which all nodes are checked again"
    else
        not_ok "... after which all nodes are checked again" "$(tell)"
    fi
    as_whole "... with the losses of the unbroken run"
}

# ---- the job and its controller -------------------------------------------------------
scancelled() {
    begin scancelled
    at_step 70
    scancel "$(job)"
    finish
    ended "a run whose job others cancel comes to its end" 0
    says "... saved at SIGTERM" events.jsonl '"stopped"'
    says "... and was submitted again" launch.jsonl '"submitted".*"again":2'
    as_whole "... with the losses of the unbroken run"
}

# The controller saves what it knows every 5 s: what it has forgotten of a job
# that runs it starts again.
outage() {
    begin outage --drill.slow="rank 0 ms 40"
    at_step 150
    cluster kill-ctld "$state"
    seen "status needs no controller" 'node1'
    sleep 2
    cluster start-ctld "$state"
    finish
    ended "a run whose controller is away for some seconds comes to its end" 0
    never "... without failure" launch.jsonl '"failure"'
    as_whole "... with the losses of the unbroken run"
}

# A node dies meanwhile: ranks are started by a controller.
both() {
    local node

    begin both --drill.slow="rank 0 ms 40"
    at_step 150
    node=$(node_of 1)
    cluster kill-ctld "$state"
    cluster kill-node "$state" "$node"
    seen "status says what happens without controller" \
        "$node.*(lost|silent|gone|ejected)"
    sleep 3
    cluster start-ctld "$state"
    finish
    ended "a run that lost a node and the controller comes to its end" 0
    as_whole "... with the losses of the unbroken run"
    if [ "$(grep -c '"event":"incarnation"' "$dir/launch.jsonl")" = 2 ]; then
        ok "... without wasting starts"
    else
        not_ok "... without wasting starts" "$(tell)"
    fi
    cluster start-node "$state" "$node" >/dev/null
}

pending() {
    sbatch -J blocker -N 4 --exclusive -t 5 -o /dev/null --wrap 'sleep 100' \
        >/dev/null
    begin pending
    until_true 20 grep -q '"submitted"' "$dir/launch.jsonl"
    seen "status says that the run waits" 'waits|PENDING|pending'
    "$m" cancel "$dir" >cancel.out 2>&1 || not_ok "cancel" "$(cat cancel.out)"
    finish
    ended "a run that is cancelled while it waits ends" 7
    scancel -n blocker
}

# ---- how long it takes ------------------------------------------------------------------
# When the run's metrics change; read without any other process, every 10 ms.
watch_steps() {
    local n=-1
    local -a lines

    exec 3<> <(:)
    while [ -e "$dir.watched" ]; do
        mapfile -t lines 2>/dev/null <"$dir/metrics.jsonl"
        if [ ${#lines[@]} != $n ]; then
            n=${#lines[@]}
            printf '%s %s\n' "$EPOCHREALTIME" "$n"
        fi
        read -rt 0.01 -u 3
    done
}

gap() {
    local told measured node

    begin gap
    : >"$dir.watched"
    at_step 1
    watch_steps >"$dir.steps" 2>/dev/null &
    at_step 70
    node=$(node_of 2)
    cluster kill-node "$state" "$node"
    seen "status names the node that died" "$node.*(lost|ejected|gone|silent)"
    finish
    rm "$dir.watched"
    ended "a run whose node died comes to its end" 0
    recovered 10
    told=$(number total_s "$(grep '"incident"' "$dir/launch.jsonl")")
    measured=$(awk '$2 < n { from = t } from && $2 > n { print $1 - from; exit }
        { n = $2; t = $1 }' "$dir.steps")
    printf '#   told %.3f s, measured %.3f s\n' "$told" "$measured"
    if awk "BEGIN { d = $told - $measured; exit !(d < 0.1 && d > -0.1) }"; then
        ok "the incident's parts are the gap in training, within 0.1 s"
    else
        not_ok "the incident's parts are the gap in training, within 0.1 s" \
            "$(grep -C 3 -E ' (60|70)$' "$dir.steps")"
    fi
    as_whole "... with the losses of the unbroken run"
    cluster start-node "$state" "$node" >/dev/null
}

# ---- the time limit ---------------------------------------------------------------------
# The ranks are asked to save a second before the limit, and cannot.  It takes a
# minute and more, which the others use: begun first, looked at last.
begin_expired() {
    begin expired --slurm.time_min=1 --slurm.signal_s=1 --slurm.spares=0 \
        --drill.slow="rank 0 ms 260" --drill.slow_write="rank 1 ms 80" \
        --checkpoint.every=60
    expired=$client
}
expired() {
    client=$expired dir=$work/expired
    finish 200
    ended "a run whose job ended before it could save comes to its end" 0
    says "... and says what happened" job.log 'the state was not saved within 1 s'
    says "... and why it was queued again" launch.jsonl \
        '"requeued".*the job.s time is over'
    as_whole "... with the losses of the unbroken run"
}

cluster up "$state" --nodes 4 >/dev/null || exit 1
eval "$(cluster env "$state")"
names=${*:-unbroken clean slow_save damaged torn segv enospc crash_loop strikes
    network scancelled pending outage expired gap both}
case " $names " in
*expired*) begin_expired ;;
esac
for name in $names; do
    rm -rf "$XDG_STATE_HOME"
    began=$SECONDS
    "$name"
    printf '# %s: %d s\n' "$name" $((SECONDS - began))
done
exit $failed
