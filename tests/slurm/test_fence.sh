#!/bin/bash
# A node behind a cut network: its ranks end themselves before the next start
# takes a step, and nothing of theirs becomes a checkpoint.  Prints "ok - NAME"
# lines.
# shellcheck source=tests/slurm/harness.sh
. "$(dirname "${BASH_SOURCE[0]}")/harness.sh"

if [ "$(id -u)" != 0 ] || ! cluster up "$state" --nodes 4 --netns >up.out 2>&1; then
    printf '[  SKIPPED ] 1 test(s): no network namespaces here: %s\n' \
        "$(tail -n 1 up.out 2>/dev/null)"
    exit 0
fi
eval "$(cluster env "$state")"

begin whole
finish
ended "an unbroken run comes to its end" 0

# The rank behind the cut writes when it ends; the supervisor when it starts.
begin cut
at_step 70
pid=$(pid_of 1)
began=$EPOCHREALTIME
cluster cut "$state" node2
until_true 30 is_over "$pid"
died=$EPOCHREALTIME
finish
ended "a run whose node was cut off comes to its end" 0
says "the silence is named" launch.jsonl '"failure".*"class":"node","node":"node2".*silent'
first=$(awk -F'"time":' '/"incident"/ { split($2, t, ","); print t[1]; exit }' \
    "$dir/launch.jsonl")
printf '#   cut to the old rank'"'"'s end %.2f s, to the first new step %.2f s\n' \
    "$(awk "BEGIN { print $died - $began }")" \
    "$(awk "BEGIN { print $first - $began }")"
if awk "BEGIN { exit !($died < $first) }"; then
    ok "the rank that was cut off ended before the first new step"
else
    not_ok "the rank that was cut off ended before the first new step" \
        "ended $died, step $first"
fi
recovered 10
as_whole "with the losses of the unbroken run"
stale() { # events of incarnation 1 after 2 began, and checkpoints at the end
    grep -L '"incarnation": *2[,}]' "$dir"/checkpoints/step-*/manifest.json
    awk '/"(start|resume)"/ { n++ } n > 1 && /"incarnation": ?1[,}]/' \
        "$dir/events.jsonl"
}
cluster heal "$state" node2
sleep 1
if [ -z "$(stale)" ]; then
    ok "nothing of the old incarnation was committed, healed or not"
else
    not_ok "nothing of the old incarnation was committed" "$(stale)"
fi
exit $failed
