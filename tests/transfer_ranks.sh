#!/bin/bash
# The finding does not depend on the ranks: a ladder of widths and learning
# rates, each run once alone and once on four ranks of changing layouts, gives
# the same losses, the same optimum at every width and the same verdict.
# MUTRANSFER_SOAK=1: more widths, rates and seeds.
set -u

bin=${BIN:?path of mutransfer}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
bad=0

check() { # NAME CODE
    if [ "$2" = 0 ]; then
        echo "ok - $1"
    else
        echo "not ok - $1"
        bad=1
    fi
}

if [ -n "${MUTRANSFER_SOAK:-}" ]; then
    widths="16 64 256" rates="-7 -6 -5 -4 -3" seeds="1 2" steps=40
else
    widths="16 32 64" rates="-6 -4.5 -3" seeds="1" steps=20
fi
layouts=("--parallel.data=4" "--parallel.expert=4"
    "--parallel.tensor=2 --parallel.expert=2"
    "--parallel.data=2 --parallel.tensor=2"
    "--parallel.data=2 --parallel.expert=2")

cat >"$dir/run.yaml" <<'YAML'
model: {layers: 1, head_size: 8, kv_group: 1, ffn_ratio: 2, experts: 4, seq: 16}
mup: {base_width: 16, base_head_size: 8}
train: {batch: 8}
data: {train: synthetic, valid: synthetic, valid_sequences: 8}
run: {backend: ref}
checkpoint: {every: 1000}
YAML

# Words of a layout are words of the command line.
# shellcheck disable=SC2086
loss() { # COMMAND...: of one more run
    "$@" --json -q -o "$dir/run" 2>"$dir/err" |
        sed -n 's/.*"val_loss": *\([0-9.e+-]*\).*/\1/p'
    rm -rf "$dir/run"
}

if ! command -v mpirun >/dev/null 2>&1 ||
    mpirun --oversubscribe -np 2 "$bin" coord-check "$dir/run.yaml" \
        --widths 16,32 --dry-run 2>&1 | grep -q 'built without MPI'; then
    echo "[  SKIPPED ] 3 test(s): no ranks over MPI"
    exit 0
fi

n=0
echo width,lr,seed,loss | tee "$dir/one.csv" >"$dir/many.csv"
for width in $widths; do
    for rate in $rates; do
        for seed in $seeds; do
            keys=("--model.width=$width" "--train.lr=2^$rate"
                "--train.seed=$seed" "--train.steps=$steps")
            layout=${layouts[n++ % ${#layouts[@]}]}
            one=$(loss "$bin" train "$dir/run.yaml" "${keys[@]}")
            # shellcheck disable=SC2086
            many=$(loss timeout 120 mpirun --oversubscribe -np 4 "$bin" train \
                "$dir/run.yaml" "${keys[@]}" $layout | tail -n 1)
            lr=$(awk "BEGIN {printf \"%.17g\", 2^$rate}")
            echo "$width,$lr,$seed,$one" >>"$dir/one.csv"
            echo "$width,$lr,$seed,$many" >>"$dir/many.csv"
        done
    done
done

# Floats summed in another order; measured 8e-7 at most.
paste -d, "$dir/one.csv" "$dir/many.csv" | awk -F, 'NR > 1 {
    d = ($8 - $4) / $4; if (d < 0) d = -d; if (d > most) most = d
    if (!($4 > 0) || !($8 > 0) || d > 1e-5) { print "# " $0; bad = 1 }
} END { printf "# %d runs, losses differ by %.1e at most\n", NR - 1, most
    exit bad || NR < 10 }'
check "losses on four ranks are those of one" $?

"$bin" report --csv "$dir/one.csv" -o "$dir/report-one" >"$dir/one.txt" 2>&1
code=$?
"$bin" report --csv "$dir/many.csv" -o "$dir/report-many" >"$dir/many.txt" 2>&1
[ $? = $code ]
check "the verdict is the same" $?
# The loss is printed to four places, of which the last may round otherwise.
sed 's|report: .*||; s/  loss [0-9.]*//' "$dir/one.txt" >"$dir/one.line"
sed 's|report: .*||; s/  loss [0-9.]*//' "$dir/many.txt" >"$dir/many.line"
diff "$dir/one.line" "$dir/many.line" && grep -q 'best lr' "$dir/one.line"
check "the optimum of every width is the same" $?
sed 's/^/# /' "$dir/one.txt"
exit $bad
