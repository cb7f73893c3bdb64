#!/bin/bash
# The whole story on real text, on a CPU: what 'make quickstart' runs.  Every
# command is shown before it runs, so each can be repeated by hand.  Run again,
# it continues where it stopped.
#
#   launcher/quickstart.sh [FOLDER]     FOLDER: text files of your own
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export MUTRANSFER=${MUTRANSFER:-build/bin/mutransfer}

folder=${1:-}
out=runs/quickstart
data=()
label=""
began=$SECONDS

# Show a command as a user would type it, run it, and let pass the exit codes
# that belong to the story: run "0 1" VERB ...
run() {
    local expected=" $1 " code=0

    shift
    printf '\n$ mutransfer %s\n' "$*"
    "$MUTRANSFER" "$@" || code=$?
    accept "$expected" "$code" "$1"
}

accept() {
    local expected=$1 code=$2 verb=$3

    case $expected in
    *" $code "*) return 0 ;;
    esac
    if [ "$code" = 7 ]; then
        printf 'quickstart: stopped; make quickstart continues\n' >&2
    else
        printf "quickstart: 'mutransfer %s' ended with exit code %s\n" \
            "$verb" "$code" >&2
    fi
    exit "$code"
}

step() {
    printf '\n== %s\n' "$*"
}

# Fill data, label and out: the text to train on, and a folder for results of
# this text alone.
choose_text() {
    local corpus="" code=0

    if [ -n "$folder" ]; then
        printf '$ configs/corpus.sh folder %s\n' "$folder"
        corpus=$(configs/corpus.sh folder "$folder") || exit $?
        label=$folder
        out=$out-$(basename "$(realpath "$folder")")-$(cksum <"$corpus" |
            cut -d' ' -f1)
    else
        printf '$ configs/corpus.sh quickstart\n'
        corpus=$(configs/corpus.sh quickstart) || code=$?
        label="git and vim documentation"
    fi
    if [ "$code" = 3 ]; then
        printf 'no text: the synthetic source takes its place, so the %s\n' \
            "numbers below say nothing about language"
        label="synthetic source"
        out=$out-synthetic
        data=(--data.train=synthetic --data.valid=synthetic)
        return
    fi
    [ "$code" = 0 ] || exit "$code"
    corpus=${corpus#"$PWD"/}
    if [ "$corpus" != corpus/quickstart.bin ]; then
        data=(--data.train="$corpus" --data.valid="${corpus%.bin}-valid.bin")
    fi
}

# Both coordinate checks at once: each is one thread.
coordinate_checks() {
    local p code check pids=()

    for p in mup sp; do
        check=(coord-check configs/quickstart-run.yaml
            --mup.parametrization=$p -o "$out/coord-$p" "${data[@]}")
        printf '\n$ mutransfer %s\n' "${check[*]}"
        "$MUTRANSFER" "${check[@]}" -q >"$out/coord-$p.txt" 2>&1 &
        pids+=($!)
    done
    for p in mup sp; do
        code=0
        wait "${pids[0]}" || code=$?
        pids=("${pids[@]:1}")
        printf '\n-- %s (updates, gradients and causes: %s)\n' "$p" "$out/coord-$p.txt"
        grep -vE '^    .|\.(update|propagated|gradient)  |^$|^(prop|updates|grad)' "$out/coord-$p.txt" || true
        # Under SP the check must fail; a muP that is not clear is reported.
        accept " 0 1 8 " "$code" coord-check
    done
}

step "1. text"
choose_text
out=${OUT:-$out}
mkdir -p "$out"
printf 'training on: %s\n' "$label"

step "2. what it will cost"
run "0" plan configs/quickstart.yaml "${data[@]}"

step "3. does an activation or an update grow with width?  muP no, SP yes"
coordinate_checks

step "4. the sweep: every learning rate at every width, under SP and muP"
run "0" sweep configs/quickstart.yaml -o "$out" "${data[@]}"

step "5. does the best learning rate stay where it is?"
run "0 1 8" report "$out"

step "6. carry the winner, unchanged, to a wider model"
run "0" lint configs/quickstart.yaml configs/quickstart-target.yaml
run "0" transfer "$out" configs/quickstart-target.yaml -o "$out/target.yaml" \
    "${data[@]}"
run "0" show params "$out/target.yaml"
run "0" launch "$out/target.yaml" --local 1 -o "$out/target"

step "7. the result"
run "0 1 8" report "$out"
printf '\nfinished in %dm%02ds; open %s/report.html\n' \
    $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) "$out"
