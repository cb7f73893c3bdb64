#!/bin/bash
# The program end to end: answers, exit codes, sentences, interruption, a whole
# small story.  Finds the program in $BIN; prints "ok - NAME" lines.
#   UPDATE=1 tests/cli.sh     writes the golden files anew
set -uo pipefail
export LC_ALL=C

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${BIN:-$top/build/bin/mutransfer}
golden=$top/tests/golden
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
cp -r "$top/configs" .
[ -x "$BIN" ] || {
    printf 'not ok - the program is built: %s\n' "$BIN"
    exit 1
}
failed=0

ok() {
    printf 'ok - %s\n' "$1"
}
not_ok() {
    printf 'not ok - %s\n' "$1"
    shift
    printf '  %s\n' "$@"
    failed=1
}

# t NAME CODE PATTERN COMMAND...: exit code, and a regular expression that
# stdout and stderr together must match ("" = none).
t() {
    local name=$1 want=$2 pattern=$3 code=0 out

    shift 3
    out=$("$@" 2>&1 </dev/null) || code=$?
    if [ "$code" != "$want" ]; then
        not_ok "$name" "exit code $code, expected $want" "$* says:" "$out"
    elif [ -n "$pattern" ] && ! grep -qE -- "$pattern" <<<"$out"; then
        not_ok "$name" "no '$pattern' in:" "$out"
    else
        ok "$name"
    fi
}

# same NAME FILE COMMAND...: stdout equals golden/FILE.
same() {
    local name=$1 file=$2 code=0

    shift 2
    "$@" >out.txt 2>err.txt </dev/null || code=$?
    if [ "$code" != 0 ] || [ ! -s out.txt ]; then
        not_ok "$name" "exit code $code, or no answer" "$(cat err.txt)"
        return
    fi
    [ -z "${UPDATE:-}" ] || cp out.txt "$file"
    if diff -u "$file" out.txt >diff.txt; then
        ok "$name"
    else
        not_ok "$name" "$(head -n 30 diff.txt)" "$(cat err.txt)"
    fi
}

m=$BIN
tiny=configs/tiny.yaml

# ---- answers -------------------------------------------------------------------
same "help lists the verbs" "$golden/help.txt" "$m" help
same "exit codes are listed" "$golden/exit-codes.txt" "$m" help exit-codes
same "the resolved config of tiny.yaml" "$golden/tiny-config.txt" \
    "$m" show config $tiny
same "the tensors of tiny.yaml at four times the base width" \
    "$golden/tiny-params.txt" \
    "$m" show params $tiny --model.width=128 --run.backend=ref
same "docs/cli.md is current (make docs)" "$top/docs/cli.md" \
    "$m" help cli-reference
same "docs/config.md is current (make docs)" "$top/docs/config.md" \
    "$m" help config
same "docs/lint.md is current (make docs)" "$top/docs/lint.md" \
    "$m" help rules-reference
"$m" show config $tiny >resolved.yaml
same "a resolved config parses to itself" resolved.yaml \
    "$m" show config resolved.yaml
"$m" show config $tiny --comments >commented.yaml
same "a commented config parses to the same" resolved.yaml \
    "$m" show config commented.yaml
for verb in doctor data plan train sweep coord-check report lint transfer \
    launch status cancel show rules plot help; do
    t "$verb -h answers" 0 "^usage: mutransfer $verb" "$m" $verb -h
done
t "the version is printed" 0 '^mutransfer [0-9]' "$m" --version
t "no verb means help" 0 'usage: mutransfer VERB' "$m"
t "doctor measures" 0 'FLOP/s' "$m" doctor
t "doctor speaks JSON" 0 '"cores": [0-9]' "$m" doctor --json
t "plan of a run names bytes" 0 '[0-9]+ bytes planned' "$m" plan $tiny
t "plan of a sweep counts trials" 0 'trials +[0-9]+ = ' \
    "$m" plan configs/quickstart.yaml
t "plan speaks JSON" 0 '"arena_bytes": [0-9]+' "$m" plan $tiny --json
grok=configs/grok-1.yaml
same "plan of 1024 ranks, with the fastest layouts" "$golden/plan-ranks.txt" \
    "$m" plan $grok --ranks 1024 --memory 640 --layouts
if grep -vxFf "$top/docs/parallel.md" "$golden/plan-ranks.txt" >missing.txt; then
    not_ok "docs/parallel.md shows that plan" "$(cat missing.txt)"
else
    ok "docs/parallel.md shows that plan"
fi
t "plan --ranks speaks JSON" 0 '"all_to_all": ' \
    "$m" plan $tiny --ranks 4 --layouts --json
t "... and names what was chosen" 0 '"expert": true' \
    "$m" plan $tiny --ranks 4 --json --parallel.data=2
t "a plan that does not fit says no" 1 'DOES NOT FIT' \
    "$m" plan $grok --ranks 1024
t "... and names what fits" 1 'nearest that fits: 1,024 ranks = data 32 ' \
    "$m" plan $grok --ranks 1024 --memory 640 --parallel.expert=4 \
    --parallel.tensor=4
t "a target is planned before it has a learning rate" 0 'ranks +2 = data' \
    "$m" plan configs/quickstart-target.yaml --ranks 2
t "a wrong layout is refused with the nearest" 2 \
    'does not divide the 8 key/value heads; nearest: parallel.data 3, ' \
    "$m" plan $grok --ranks 12 --parallel.tensor=3
t "sizes of ranks need ranks" 2 '^mutransfer plan: --memory needs --ranks$' \
    "$m" plan $tiny --memory 8
t "memory is above nothing" 2 'memory: 0 is not above 0' \
    "$m" plan $tiny --ranks 2 --memory 0
t "a sweep has no ranks" 2 'a trial of a sweep has one rank' \
    "$m" plan configs/quickstart.yaml --ranks 2
t "a dry run trains nothing" 0 'bytes planned' "$m" train $tiny -n -o dry
t "... and leaves no folder" 1 '' test -e dry

# Without SLURM: neither its tools nor a way to a controller.
without_slurm() {
    env -u SLURM_CONF PATH="$work/nothing" "$m" launch $tiny --slurm -n \
        --slurm.by=tools --recover.exclude_file="$work/ejected.jsonl" "$@"
}
ask_for_job() {
    without_slurm --nodes 4 --spares 1 --slurm.ranks_per_node=2 \
        --slurm.cpus_per_rank=8 --slurm.gpus_per_node=2 \
        --slurm.partition=gpu --slurm.exclude='node[8-9]' \
        --slurm.time_min=240 --slurm.setup="site's.sh" -o "runs/a run" |
        sed "s,$(readlink -f "$m"),/usr/bin/mutransfer,; s,$work,/home/me,g"
}
same "the job that launch --slurm would submit" "$golden/launch-slurm.txt" \
    ask_for_job
printf '{"node":"node7","class":"corrupt","reason":"%s","until":%s}\n' \
    'wrong bits' 99999999999 >ejected.jsonl
t "a dry run names ejected nodes and why" 0 \
    'left out: node7, ejected for .* more \(corrupt\): wrong bits' without_slurm
t "... and does without them" 0 '^#SBATCH --exclude="node7"$' without_slurm
t "... without a word of the controller" 0 'cluster +no answer' without_slurm
t "... measured here where there are no GPUs" 0 'measured on this machine' \
    without_slurm
t "a dry run of a job speaks JSON" 0 '"until_unix_s": 99999999999' \
    without_slurm --json
rm ejected.jsonl
t "--local and --slurm exclude each other" 2 'choose one' \
    "$m" launch $tiny --slurm --local 2
t "--detach needs --slurm" 2 '^mutransfer launch: --detach needs --slurm$' \
    "$m" launch $tiny --detach
t "a line break is refused" 2 'slurm.account: .* followed by character 10' \
    without_slurm --slurm.account="$(printf 'a\nb')"
t "a job too short to save is refused" 2 'lengthen slurm.time_min' \
    without_slurm --slurm.time_min=2 --slurm.signal_s=120

# ---- the command line ------------------------------------------------------------
t "a misspelt verb is corrected" 2 "did you mean 'train'" "$m" trian
t "an unknown verb points to help" 2 "mutransfer help" "$m" xyzzyxyzzy
t "a misspelt option is corrected" 2 "did you mean '--output'" \
    "$m" train $tiny --ouput x
t "an unknown option points to -h" 2 'train -h' "$m" train $tiny --xyzzyxyzzy
t "an unknown letter points to -h" 2 "'-x'" "$m" train $tiny -x
t "a missing operand shows the usage" 2 'usage: mutransfer train RUN.yaml' \
    "$m" train
t "an operand too many is named" 2 "'b.yaml' is one operand too many" \
    "$m" train $tiny b.yaml
t "a missing argument is named" 2 "'--output' needs an argument" \
    "$m" train $tiny -o
t "a flag takes no argument" 2 "takes no argument" "$m" train $tiny --json=1
t "a key without value is explained" 2 'write --train.lr=VALUE' \
    "$m" train $tiny --train.lr
t "a number out of range is refused" 2 'jobs: 0 is outside' \
    "$m" sweep configs/quickstart.yaml -j 0
t "a word is no number" 2 'jobs: .*many' \
    "$m" sweep configs/quickstart.yaml -j many
t "one width makes no slope" 2 'at least two widths' \
    "$m" coord-check $tiny --widths 32
t "falling widths are refused" 2 'rising order' \
    "$m" coord-check $tiny --widths 64,32
t "a width that heads do not divide is refused" 2 'widths: .*multiple' \
    "$m" coord-check $tiny --widths 32,40
for grow in width head_size; do
    t "a width that no model can have is refused, $grow" 2 \
        'widths: model.width: 2305843009213693952 is outside' \
        "$m" coord-check $tiny --grow $grow --widths 64,2305843009213693952 -n
done
t "a depth that no model can have is refused" 2 \
    'depths: model.layers: 9223372036854775807 is outside' \
    "$m" coord-check $tiny --depths 2,9223372036854775807 -n
t "depths and widths do not grow at once" 2 'widths: depth grows here' \
    "$m" coord-check $tiny --depths 2,4 --widths 32,64
t "an unknown wrong rule is refused" 2 "no wrong rule 'nope'" \
    "$m" coord-check $tiny --break nope
t "the wrong rules are listed" 0 'hidden_lr_sqrt .*1/sqrt' \
    "$m" coord-check --break list
t "a wrong rule needs muP" 2 'break: .*mup.parametrization to mup, not sp' \
    "$m" coord-check $tiny --break eps --mup.parametrization=sp
t "a depth rule takes the smallest depth for its base" 0 \
    '4 depths x 3 seeds .*coord-mup-depth-break-residual' \
    "$m" coord-check $tiny --break residual -n
t "coord-check without anything to check" 2 'needs a run config or a table' \
    "$m" coord-check
t "unknown help is explained" 2 "no help on 'nonsense'" "$m" help nonsense
t "help takes one topic" 2 "one operand too many" "$m" help config train
t "the rules of the linter are listed" 0 '^  M012  warning  ' "$m" help rule
t "a rule has a page" 0 '^what to do ' "$m" help rule M012
t "... found in any case" 0 '^M012  ' "$m" help rule m012
t "an unknown rule names the nearest" 2 "no rule 'M999'; the nearest is 'M090'" \
    "$m" help rule M999
t "a full disk at stdout is noticed" 3 'cannot write to standard output' \
    bash -c "'$m' help config >/dev/full"

# ---- bad configs -------------------------------------------------------------------
t "a misspelt key on the command line" 2 "train.lrr.*train\.lr" \
    "$m" train $tiny --train.lrr=1
t "a value out of range on the command line" 2 'train.lr: -1 is outside' \
    "$m" train $tiny --train.lr=-1
t "a value that is no number" 2 'train.steps' "$m" train $tiny --train.steps=ten
t "a missing config" 3 "nope.yaml.*No such file" "$m" train nope.yaml
t "a folder instead of a config" 2 'is a folder' "$m" train configs
t "a sweep file instead of a run config" 2 "mutransfer sweep" \
    "$m" train configs/quickstart.yaml
t "a run config instead of a sweep file" 2 "mutransfer train" \
    "$m" sweep $tiny
printf 'train:\n  lr: 0.1\n  learning_rat: 3\n' >bad.yaml
t "an unknown key in a file has its line" 2 'bad.yaml:3: .*learning_rat' \
    "$m" train bad.yaml
printf 'train:\n  lr: 0.1\n  beta2: 1\n' >bad.yaml
t "a value out of range has its line" 2 'bad.yaml:3: .*beta2.*outside' \
    "$m" train bad.yaml
printf 'train:\n  lr: [1\n' >bad.yaml
t "broken YAML has its line" 2 'bad.yaml:[0-9]+: ' "$m" train bad.yaml
printf 'train:\n  lr: 0.1\n  lr: 0.2\n' >bad.yaml
t "a repeated key has its line" 2 'bad.yaml:3: ' "$m" train bad.yaml
printf 'model:\n  width: 64\n' >bad.yaml
t "a missing key is named" 2 'train.lr' "$m" train bad.yaml
t "a head count that does not divide" 2 'model.width 40.*head_size' \
    "$m" train $tiny --model.width=40
t "values for a parameter of a sweep are told how to be written" 2 \
    "write 'parameters.train.lr.values=2\^-6,2\^-5'" \
    "$m" sweep configs/quickstart.yaml -n --train.lr=2^-6,2^-5
t "an empty sweep file" 2 'sweep' "$m" sweep /dev/null
t "an unknown backend" 2 'unknown backend' "$m" train $tiny --run.backend=gpu

# ---- the rules for other trainers ----------------------------------------------------
oracle=$top/tests/data/microsoft-mup.json
same "rules of microsoft/mup's example as CSV" "$golden/rules.csv" \
    "$m" rules --shapes "$oracle" --format csv
same "rules as a table, every axis in it" "$golden/rules-table9.txt" \
    "$m" rules --shapes "$oracle" --form table9 --depth completep \
    --layers 64,4 --decay sqrt
same "rules as JSON" "$golden/rules.json" bash -c "
    '$m' rules --shapes - --optimizer muon --muon-scale moonlight --format json \
        <<<'[{\"name\": \"a\", \"shape\": [512, 256], \"base_shape\": [128, 64]},
        {\"name\": \"t\", \"shape\": [9, 256], \"base_shape\": [null, 64],
         \"role\": \"tied\"}]'"
t "--json is that format" 0 '^\[' "$m" rules --shapes "$oracle" --json
printf '# microsoft/mup\nw:\n- 64\n- 64\n' >base.bsh
t "base shapes come from microsoft/mup's file" 0 '^w,hidden,hidden,4,.*,0.25,' \
    bash -c "'$m' rules --shapes - --base base.bsh --format csv \
        <<<'[{\"name\": \"w\", \"shape\": [256, 256]}]'"
t "patterns give roles" 0 '^x  *output' bash -c "
    echo 'x output' >roles.txt
    '$m' rules --shapes - --patterns roles.txt \
        <<<'[{\"name\": \"x\", \"shape\": [9, 256], \"base_shape\": [null, 64]}]'"
t "the built-in patterns can be given as a file" 0 'expert_up' \
    "$m" rules --shapes "$oracle" --patterns configs/roles.txt
t "a file where nothing grows is noted" 0 'no dimension of any tensor grows' \
    bash -c "'$m' rules --shapes - \
        <<<'[{\"name\": \"w\", \"shape\": [8], \"base_shape\": [null]}]'"
t "a table that may be tied is noted" 0 "'wte' makes the logits too" bash -c "
    '$m' rules --shapes - <<<'[{\"name\": \"wte\", \"shape\": [9, 8],
        \"base_shape\": [null, 4]}]'"
t "a bad shape names its tensor" 2 "x.json: tensor 'w': dimension 1 .* is 0" \
    bash -c "echo '[{\"name\": \"w\", \"shape\": [8, 0]}]' >x.json
    '$m' rules --shapes x.json"
t "... and prints nothing else" 0 '^$' bash -c "
    '$m' rules --shapes x.json --format csv 2>/dev/null || true"
t "broken JSON has its line" 2 'x.json:2: not JSON' bash -c "
    printf '[\n}' >x.json; '$m' rules --shapes x.json"
t "rules need tensors" 2 'either --shapes FILE or --config' "$m" rules
t "... from one place" 2 'either --shapes' \
    "$m" rules --shapes "$oracle" --config $tiny
t "a missing list of tensors" 3 "'nope.json': No such file" \
    "$m" rules --shapes nope.json
t "an unknown optimizer is refused" 2 "'adagrad'; one of adamw, sgd" \
    "$m" rules --shapes "$oracle" --optimizer adagrad
t "an unknown format is refused" 2 "'xml'; one of json" \
    "$m" rules --shapes "$oracle" --format xml
t "a depth rule needs layers" 2 'add --layers N,BASE' \
    "$m" rules --shapes "$oracle" --depth completep
t "... and their base" 2 '\-\-layers 64,4' \
    "$m" rules --shapes "$oracle" --depth completep --layers 8
t "L2 decay in adam is refused with the reason" 2 'into the gradient' \
    "$m" rules --shapes "$oracle" --optimizer adam --decay coupled
t "two formats at once are refused" 2 'contradict' \
    "$m" rules --shapes "$oracle" --format csv --json
t "a size beyond all numbers is told with its tensor" 2 "'big'.*more than 2" \
    bash -c "'$m' rules --shapes - \
        <<<'[{\"name\": \"big\", \"shape\": [99999999999999999999999, 128]}]'"
t "an MoE regime needs experts" 2 'add --experts N,BASE' \
    "$m" rules --shapes "$oracle" --moe mssp
t "shapes have no config keys" 2 'sets a key of a config' \
    "$m" rules --shapes "$oracle" --train.lr=1
t "a config has keys for the rules" 2 '\-\-train.optimizer=sgd' \
    "$m" rules --config $tiny --optimizer sgd
for flag in parametrization:mup form:table9 decay:sqrt depth:completep moe:mssp \
    gqa:experimental muon-scale:moonlight; do
    t "... and that key is one: ${flag%:*}" 0 '' bash -c "
        key=\$('$m' rules --config $tiny --${flag%:*} ${flag#*:} 2>&1 |
            grep -oE -- '--(mup|train)\.[a-z_]+' | head -1)
        '$m' help config | grep -q -- \"\${key##*.}\""
done
t "... and knows its tensors" 2 'belongs to --shapes' \
    "$m" rules --config $tiny --base base.bsh

# trained_as NAME ARG...: base values times the factors of 'rules' are what
# 'show params' says that the model trains with.
base_values=(--train.lr=2^-8 --train.weight_decay=0.125 --train.eps=2^-30
    --mup.init_std=0.5 --mup.emb_mult=1 --model.width=128 --mup.base_layers=1)
trained_as() {
    local name=$1 out

    shift
    "$m" show params $tiny "${base_values[@]}" "$@" --json >params.json
    "$m" rules --config $tiny "${base_values[@]}" "$@" --format csv >rules.csv
    out=$(awk -F, '
    function differ(what, a, b) {
        if ((a - b) ^ 2 > (1e-13 * b) ^ 2) {
            printf "%s: %s is %.17g, by the rules %.17g\n", $1, what, a, b;
        }
    }
    FNR == NR {
        split($0, w, /[": ,]+/);
        if (w[2] == "name") name = w[3];
        value[name, w[2]] = w[3];
        next;
    }
    FNR > 1 {
        n++;
        differ("lr", value[$1, "lr"], $8 * 2 ^ -8);
        differ("eps", value[$1, "eps"], $9 * 2 ^ -30);
        differ("decay", value[$1, "weight_decay"], $10 * 0.125);
        if ($5 == "normal") differ("std", value[$1, "init_std"], $6 * 0.5);
        if ($1 !~ /norm_out/) differ("forward", value[$1, "forward"], $7);
    }
    END { if (n != 27) print n " tensors" }' params.json rules.csv 2>&1)
    if [ -z "$out" ]; then
        ok "$name"
    else
        not_ok "$name" "$out"
    fi
}
trained_as "the rules are what is trained"
trained_as "... with SGD in table 9" --train.optimizer=sgd --mup.form=table9
trained_as "... with a depth rule" --mup.depth=completep --mup.form=table3
trained_as "... in an MoE regime" --mup.moe=mean_field --mup.base_experts=2
trained_as "... under SP" --mup.parametrization=sp
cp rules.csv whole.csv
for layout in --launch.local=8 --train.micro_batch=1 --train.micro_batch=4; do
    trained_as "... whatever $layout" --mup.parametrization=sp $layout
    t "... with the same bytes" 0 '' cmp rules.csv whole.csv
done

# ---- bad data and bad places ---------------------------------------------------------
t "missing data" 3 'nope.bin' "$m" train $tiny --data.train=nope.bin -o r1
t "... leaves no folder" 1 '' test -e r1
for i in 1 2 3 4 5 6; do
    seq $((i * 1000)) $((i * 1000 + 600))
done >text.txt
t "text becomes shards" 0 'text.bin' \
    "$m" data prepare --text text.txt -o text.bin
t "a shard can be shown" 0 'tokens of 2 bytes' "$m" data show text.bin
head -c 3000 text.bin >short.bin
t "a truncated shard" 5 'short.bin' "$m" train $tiny --data.train=short.bin -o r1
head -c 500 text.bin >short.bin
t "a shard shorter than its header" 5 'short.bin' \
    "$m" train $tiny --data.train=short.bin -o r1
t "a file that is no shard" 5 'text.txt' \
    "$m" train $tiny --data.train=text.txt -o r1
t "a token above the vocabulary" 5 '(vocab|token)' \
    "$m" train $tiny --data.train=text.bin --model.vocab=32 -o r1
t "a corpus shorter than a batch" 2 'short|window|batch' "$m" train $tiny \
    --data.train=text.bin --data.valid=text-valid.bin --model.seq=16384 -o r1
t "text that is not there" 3 'nope.txt' \
    "$m" data prepare --text nope.txt -o x.bin
t "data without output" 2 'add -o' "$m" data prepare --text text.txt
t "an impossible folder" 3 '/dev/null' "$m" train $tiny -o /dev/null/run
t "status of no run" 2 'neither a sweep' "$m" status configs
t "report of no sweep" 2 'is a|neither' "$m" report configs
t "status of nothing" 3 'No such file' "$m" status nope
if [ "$(id -u)" != 0 ]; then
    mkdir read-only
    chmod 555 read-only
    t "a read-only folder" 3 'read-only' "$m" train $tiny -o read-only/run
fi
# A tmpfs of a megabyte is the small disk; it needs the right to mount.
mkdir small
if mount -t tmpfs -o size=1m none small 2>/dev/null; then
    t "a full disk" 3 'small.*No space' "$m" train $tiny -q \
        --model.width=64 -o small/run
    umount small
    mount -t tmpfs -o size=20m none small
    t "... and with room the same command works" 0 'trained' "$m" train $tiny \
        -q --model.width=64 -o small/run
    umount small
fi

# ---- a run, stopped and continued ------------------------------------------------------
t "tiny.yaml trains" 0 'trained 50 steps' "$m" train $tiny -q -o run
t "... again returns the result" 0 'trained 50 steps' "$m" train $tiny -q -o run
t "... with another learning rate is refused" 2 'train.lr' \
    "$m" train $tiny -q -o run --train.lr=0.5
t "status of a run" 0 'last event: done at step 50' "$m" status run
t "its checkpoint verifies" 0 'every chunk has its hash' \
    "$m" show checkpoint run
t "... and says who wrote it" 0 'step 50, written by 1 rank, rule set' \
    "$m" show checkpoint run --no-verify
t "... also as JSON" 0 '"verified": true' "$m" show checkpoint run --json
cp -r run broken
printf x | dd of=broken/checkpoints/step-0000000050/rank-0000-0000000050.bin \
    bs=1 seek=5000 conv=notrunc 2>/dev/null
t "a damaged one is named to the chunk" 5 \
    "rank-0000-0000000050.bin': chunk 0, of tensor 'embed' .weight." \
    "$m" show checkpoint broken
rm -r broken
t "a diverging run has its exit code" 6 'diverged at step' \
    "$m" train $tiny -q -o diverged --train.lr=1e6 --train.clip=0

long=(train $tiny --train.steps=600 --run.log_every=1 -q)
"$m" "${long[@]}" -o whole >/dev/null || not_ok "an unbroken run" "failed"

# interrupt SIGNAL DIR ARG...: start, wait for some steps, send.
interrupt() {
    local signal=$1 dir=$2 code=0 pid

    shift 2
    "$m" "${long[@]}" -o "$dir" "$@" >stop.txt 2>&1 &
    pid=$!
    for _ in $(seq 2000); do
        [ "$(cat "$dir/metrics.jsonl" 2>/dev/null | wc -l)" -lt 20 ] ||
            break
        kill -0 $pid 2>/dev/null || break
        sleep 0.005
    done
    kill -"$signal" $pid 2>/dev/null
    wait $pid 2>/dev/null || code=$?
    echo "$code"
}

# as_unbroken NAME DIR: last checkpoint and metrics are those of "whole"; the
# speed is no result.
as_unbroken() {
    local dir last=checkpoints/step-0000000600

    for dir in whole "$2"; do
        "$m" show checkpoint "$dir/$last" | grep -E ' (weight|m|v) ' \
            >"$dir.tensors"
        sed 's/"tokens_per_s":[^,}]*//' "$dir/metrics.jsonl" >"$dir.metrics"
    done
    if [ -s whole.metrics ] && [ -s whole.tensors ] &&
        cmp -s whole.tensors "$2.tensors" &&
        cmp -s whole.metrics "$2.metrics"; then
        ok "$1"
    else
        not_ok "$1" "$(diff whole.metrics "$2.metrics" | cut -c1-70 |
            head -n 5)"
    fi
}

for signal in INT TERM; do
    code=$(interrupt $signal stopped-$signal)
    if [ "$code" = 7 ] && grep -q 'the same command continues' stop.txt; then
        ok "SIG$signal saves and says how to continue"
    else
        not_ok "SIG$signal saves and says how to continue" "exit code $code" \
            "$(cat stop.txt)"
    fi
    "$m" "${long[@]}" -o stopped-$signal >/dev/null 2>&1
    as_unbroken "after SIG$signal the run ends as if unbroken" stopped-$signal
done
interrupt KILL killed --checkpoint.every=7 >/dev/null
"$m" "${long[@]}" -o killed >/dev/null 2>&1
as_unbroken "after kill -9 the run ends as if unbroken" killed

# ---- the story, small ----------------------------------------------------------------
cat >sweep.yaml <<'YAML'
name: small
base: configs/tiny.yaml
method: grid
metric: {name: val_loss, goal: minimize}
parameters:
  train.lr: {values: [2^-9, 2^-8, 2^-7, 2^-6, 2^-5, 2^-4]}
groups:
  mup.parametrization: [sp, mup]
  model.width: [32, 64]
seeds: [1]
YAML
cat >target.yaml <<'YAML'
model: {width: 128, head_size: 16, experts: 4, seq: 32}
mup: {base_width: 32}
train: {steps: 50, batch: 8}
data: {valid_sequences: 32}
YAML
t "coord-check passes or not, but decides" 0 '' bash -c "
    '$m' coord-check $tiny -q --widths 32,64 --seeds 2 --steps 3 -o coord;
    code=\$?; [ \$code = 0 ] || [ \$code = 1 ] || [ \$code = 8 ]"
t "coord-check leaves its result" 0 '"verdict"' cat coord/coord.json
t "coord-check of SP fails" 1 'FAIL  sp' "$m" coord-check $tiny -q \
    --widths 32,64,128 --seeds 2 --mup.parametrization=sp -o coord-sp
t "coord-check finds a wrong rule and names its tensor" 1 \
    'found: embed.update at t=2, slope -1.0' "$m" coord-check $tiny -q \
    --widths 32,64 --seeds 1 --steps 1 --break input_lr -o coord-break
t "... and says so in its result" 0 '"found": "embed.update"' \
    cat coord-break/coord.json
t "coord-check over depth" 0 'layers 2,4, 2 seeds' bash -c "
    '$m' coord-check $tiny -q --depths 2,4 --seeds 2 --steps 2 -o coord-depth;
    [ \$? != 2 ]"
t "coord-check judges a table" 1 'FAIL  coord-sp/coord.csv, widths 32,64,128' \
    "$m" coord-check --csv coord-sp/coord.csv --mup.parametrization=sp -o again
t "... with the verdict of the check that wrote it" 0 '' bash -c "
    jq() { grep -E '\"(slope|verdict|name)\"' \$1; }
    diff <(jq coord-sp/coord.json) <(jq again/coord.json)"
printf 'width,step,tensor,value\n64,2,mlp,1\n128,2,mlp,1.02\n' >acts.csv
t "a table of another trainer passes" 0 'PASS  acts.csv, widths 64,128, 1 seed' \
    "$m" coord-check --csv acts.csv
t "... and leaves its result beside it" 0 '"csv": "acts.csv"' \
    cat acts-coord/coord.json
cp acts.csv dry.csv
t "coord-check of a table judges without writing" 0 \
    'nothing is written into dry-coord' "$m" coord-check --csv dry.csv -n
t "... also as JSON" 0 '"verdict": "PASS"' \
    "$m" coord-check --csv dry.csv -n --json
t "... and leaves nothing" 1 '' test -e dry-coord
mkdir own && printf 'width,step,seed,name,value\n64,2,7,m,1\n128,2,7,m,1\n' \
    >own/coord.csv && cp own/coord.csv own.csv
t "a table beside its result is judged" 0 'results in own \(coord.json\)' \
    "$m" coord-check --csv own/coord.csv -o own
t "... and stays as it was" 0 '' cmp own.csv own/coord.csv
printf 'depth,step,name,value\n2,2,m,1\n4,2,m,1\n' >depths.csv
t "a table of depths does not grow in width" 2 \
    "head_size is said to grow, but the table has a column 'depth'" \
    "$m" coord-check --csv depths.csv --grow head_size
t "... but in depth" 0 'PASS  depths.csv, layers 2,4' \
    "$m" coord-check --csv depths.csv
printf '64,3,mlp,1\n' >>acts.csv
t "a table with holes is refused" 2 'no value at width 128, seed 0' \
    "$m" coord-check --csv acts.csv
t "the sweep runs" 0 '24 trials: 24 done|24 trials: .* 0 failed' \
    "$m" sweep sweep.yaml -q -o study -j 2
cp study/trials.csv trials.csv 2>/dev/null
t "... again does nothing" 0 '24 trials' "$m" sweep sweep.yaml -q -o study
t "... its trials did not change" 0 '' cmp trials.csv study/trials.csv
t "status of a sweep" 0 '24 trials' "$m" status study
t "status speaks JSON" 0 '"trials": 24' "$m" status study --json
t "another specification is refused" 2 'train.lr|differ|other' \
    "$m" sweep sweep.yaml -q -o study --train.beta2=0.9
t "report decides" 0 '' bash -c "'$m' report study >report.txt;
    code=\$?; [ \$code = 0 ] || [ \$code = 1 ] || [ \$code = 8 ]"
t "... begins with a sentence" 0 '^[A-Z].*\.$' head -n 1 report.txt
t "... leaves a page" 0 '<svg' cat study/report.html
t "... leaves pictures" 0 '' test -s study/plots/lr.svg -a \
    -s study/plots/lr.png -a -s study/plots/lr.gp -a -s study/plots/lr.dat
t "a picture on the screen" 0 '.' "$m" plot lr study --term dumb
t "a picture's script" 0 'plot' "$m" plot lr study --script
t "an unknown picture" 2 'lr' "$m" plot pie study
t "an unknown terminal" 2 'png, svg, dumb' "$m" plot lr study --term crt
t "lint passes" 0 '^0 errors' "$m" lint sweep.yaml target.yaml
t "lint of the folder passes" 0 '^0 errors' "$m" lint study target.yaml
t "... knows what its report says" 0 'M0(10|11|12|13|7[0-3]) ' \
    "$m" lint study target.yaml
t "lint names keys that may differ, with their class" 0 \
    'model.width +32\|64 -> 128 +S, scaled by rule' \
    "$m" lint sweep.yaml target.yaml
t "... and the size of a toy once" 0 '^    train.steps +50$' \
    "$m" lint sweep.yaml target.yaml
t "the page of a rule prints its limit" 0 '^limit +256$' "$m" help rule M001
t "lint finds other experts" 1 '^error +M050 ' \
    "$m" lint sweep.yaml target.yaml --model.experts=8
t "lint finds a width that does not divide" 1 '^error +M080 ' \
    "$m" lint sweep.yaml target.yaml --model.width=100
t "lint speaks JSON" 0 '"id": "M001"' "$m" lint study target.yaml --json
t "... with errors too" 1 '"errors": 1' \
    "$m" lint study target.yaml --model.experts=8 --json
t "lint of nothing" 3 'No such file' "$m" lint nope.yaml target.yaml
t "lint of a folder that holds nothing" 2 'neither a sweep' \
    "$m" lint configs target.yaml
t "a sweep file is no target" 2 'a run config is needed' \
    "$m" lint study sweep.yaml
if command -v python3 >/dev/null; then
    t "... which parses" 0 '' bash -c "'$m' lint study target.yaml --json |
        python3 -m json.tool"
fi
t "transfer refuses other experts" 1 'error: M050 .model.experts. \(fixed\)' \
    "$m" transfer study target.yaml --model.experts=8 -o out.yaml
t "transfer refuses another learning rate" 1 \
    "error: M014 'train.lr' \(transfer\)" \
    "$m" transfer study target.yaml --train.lr=0.3 -o out.yaml
t "... and writes nothing" 1 '' test -e out.yaml
t "transfer wants an output" 2 'add -o' "$m" transfer study target.yaml
t "transfer does not overwrite the target" 2 'overwrite' \
    "$m" transfer study target.yaml -o target.yaml
t "transfer writes the target" 0 'carried unchanged: train.lr = ' \
    "$m" transfer study target.yaml -o out.yaml
t "... with its provenance" 0 '"trial": [0-9]+' cat out.transfer.json
t "... which lints clean" 0 '^0 errors' "$m" lint study out.yaml
t "... and has the linter's warnings" 0 '"id": "M001"' cat out.transfer.json
t "launch says what speaks against it" 0 '^warning: M001 ' \
    "$m" launch out.yaml -n
t "launch refuses what transfer would" 1 "error: M014 'train.lr'" \
    "$m" launch out.yaml -n --train.lr=0.3
sed 's/"sweep_dir": "study"/"sweep_dir": "gone"/' out.transfer.json \
    >gone.transfer.json
cp out.yaml gone.yaml
t "launch without the sweep asks about the target alone" 0 \
    "note: the sweep 'gone'" "$m" launch gone.yaml -n --train.lr=0.3
t "launch of a config of one's own works" 0 'bytes planned' "$m" launch $tiny -n
t "launch trains it" 0 'trained 50 steps' \
    "$m" launch out.yaml --local 1 -q -o study/target
t "transfer from an empty folder" 2 'neither' \
    "$m" transfer configs target.yaml -o out.yaml

# ---- the command that the linter suggests silences it ----------------------------------
# The winner is the muP twin of a run under SP: its config is its own.
cat >tuned.yaml <<'YAML'
name: tuned
base: configs/tiny.yaml
method: grid
metric: {name: val_loss, goal: minimize}
parameters:
  train.lr: {values: [2^-6]}
  mup.init_std: {values: [2^-2, 2^-3]}
groups:
  mup.parametrization: [sp, mup]
YAML
quick=(-q --widths 32,64 --seeds 1 --steps 1)

# suggested FOLDER: run the linter's command, whatever its verdict.
suggested() {
    local line

    line=$("$m" lint "$1" target.yaml | grep -o "coord-check $1/trials/[^']*") ||
        return 2
    # shellcheck disable=SC2086 # words of a command line
    "$m" $line "${quick[@]}" || [ $? != 2 ]
}

# checked FOLDER TARGET: rule M070 is silent, the linter is not.
checked() {
    "$m" lint "$1" "$2" >lint.txt && grep -q '^warning M0' lint.txt &&
        ! grep M070 lint.txt
}

t "a sweep that tunes another key than the rate" 0 'trial 4 \(mup' \
    "$m" sweep tuned.yaml -q -o tuned -j 2
"$m" coord-check $tiny "${quick[@]}" -o tuned/coord-mup >/dev/null 2>&1
t "a check of its base config is stale" 0 \
    "another config .* coord-check tuned/trials/4/config.yaml -o" \
    "$m" lint tuned target.yaml
t "the check that the linter suggests is made" 0 'mup, widths 32,64' \
    suggested tuned
t "... and is not stale" 0 '' checked tuned target.yaml
t "the report repeats that check" 0 \
    'coord-check tuned/trials/4/config.yaml --widths 32,64' bash -c "
    '$m' report tuned -q >/dev/null; cat tuned/report.json"
source=(--data.train=synthetic --data.valid=synthetic)
t "the sweep of the quickstart, small" 0 '2 done' \
    "$m" sweep configs/quickstart.yaml -q -o qs "${source[@]}" \
    --parameters.train.lr.values=2^-5 --groups.model.width=32 --sweep.seeds=1 \
    --train.steps=5
"$m" coord-check configs/quickstart-run.yaml "${quick[@]}" "${source[@]}" \
    -o qs/coord-mup >/dev/null 2>&1
t "the quickstart's own check is not stale" 0 '' \
    checked qs configs/quickstart-target.yaml

# ---- a table of someone else's runs ----------------------------------------------------
# The command that docs/report.md gives, and the rows it shows.
doc=$(grep -oE '^    mutransfer report --csv .*' "$top/docs/report.md" | head -n 1)
t "the documents' command on a table" 0 '^mup: stable' \
    bash -c "${doc/    mutransfer/\"$m\"}"
t "... shows the drift of the control" 1 '"verdict": "drifts"' bash -c "
    grep -v mup configs/example-sweep.csv >sp.csv; '$m' report --csv sp.csv --json"
for file in report.json report.html plots/lr.dat plots/fit.dat plots/optimum.dat; do
    t "... leaves $file" 0 '' test -s runs/example/$file
done
if command -v gnuplot >/dev/null 2>&1; then
    t "... leaves pictures" 0 '' test -s runs/example/plots/lr.svg -a \
        -s runs/example/plots/lr.png -a -s runs/example/plots/lr.gp
fi
if diff <(sed -n '/^```$/,/^```$/p' "$top/docs/report.md" | grep '^[ps].*,') \
    <(grep -v '^#' configs/example-sweep.csv | head -n 5) >diff.txt; then
    ok "the documents show the first rows of the example"
else
    not_ok "the documents show the first rows of the example" "$(cat diff.txt)"
fi
printf 'width,lr,loss\n64,1e-3,3\n64,2e-3,2.9\n64,4e-3,\n' >one.csv
t "a table of one width does not decide" 8 'single width' \
    "$m" report --csv one.csv
t "... goes beside the table" 0 '"format": 1' cat one-report/report.json
t "... its picture can be drawn anew" 0 'set title' \
    "$m" plot lr one-report --script
t "... is no folder of a sweep" 2 'holds a report alone' \
    "$m" status one-report
t "a misspelt column has its line and remedy" 2 \
    "bad.csv:1: there is no column 'lr'; if it is 'learning_rate'" bash -c "
    sed 's/lr/learning_rate/' one.csv >bad.csv; '$m' report --csv bad.csv"
t "a cell that is no number has its line" 2 "bad.csv:3: loss: '2,9' is not" \
    bash -c "sed 's/2\.9/\"2,9\"/' one.csv >bad.csv
    '$m' report --csv bad.csv"
t "a run that stands twice has both lines" 2 'bad.csv:5: .*line 3' bash -c "
    (cat one.csv; echo 64,2e-3,2.9) >bad.csv; '$m' report --csv bad.csv"
t "... and leaves no folder" 1 '' test -e bad-report
t "no such table" 3 'nope.csv.*No such file' "$m" report --csv nope.csv
t "a table is not put into a sweep" 2 'holds a sweep' \
    "$m" report --csv one.csv -o study
t "a table is not put into a run" 2 'holds a training run' \
    "$m" report --csv one.csv -o run
t "a run is not put beside a table's report" 2 'holds a report already' \
    "$m" train $tiny -o one-report
t "a table without --csv is explained" 2 'report --csv one.csv' \
    "$m" report one.csv
t "a table and a folder are too much" 2 'one operand too many' \
    "$m" report study --csv one.csv
t "the report of a sweep goes where -o says" 0 '"format": 1' bash -c "
    '$m' report study -q -o elsewhere >/dev/null; cat elsewhere/report.json"
t "... but not into a sweep" 2 'holds a sweep' "$m" report study -o study
t "another question has a folder of its own" 0 '"over": "model.layers"' bash -c "
    cp study/report.json before.json
    '$m' report study -q --over model.layers >layers.txt
    cat study/report-lr-over-layers/report.json"
t "... says what it is about" 0 'at depth [0-9]+ .* a single depth says nothing' \
    cat layers.txt
t "... leaves the main report alone" 0 '' cmp before.json study/report.json
t "... and its commands repeat it" 0 \
    'report study --over model.layers -o study/report-lr-over-layers' \
    cat study/report-lr-over-layers/report.json
t "an unknown axis has its nearest key" 2 \
    "over: unknown key 'model.layer' .did you mean 'model.layers'" \
    "$m" report study --over model.layer
t "a choice does not grow" 2 "'mup.depth' is not a number" \
    "$m" report study --over mup.depth
t "a value without a logarithm" 2 'train.weight_decay 0, but drift' \
    "$m" report study --of train.weight_decay
printf 'layers,weight_decay,optimizer,loss\n2,0.1,adam,3\n4,0.1,adam,2.9\n' >wd.csv
t "other columns of a table" 8 'best weight decay' \
    "$m" report --csv wd.csv --over layers --of weight_decay --by optimizer
t "... have a folder of their own" 0 '"label": "optimizer adam"' \
    cat wd-report-weight_decay-over-layers-by-optimizer/report.json
t "... must be there" 2 "there is no column 'depth'" \
    "$m" report --csv wd.csv --over depth --of weight_decay
t "report of nothing says what it takes" 2 'DIR \| --csv FILE' "$m" report

# Two drivers, and a driver that dies.
slow=(sweep sweep.yaml -q -o two -j 2 --train.steps=400)
"$m" "${slow[@]}" >first.txt 2>&1 &
driver=$!
for _ in $(seq 1000); do
    [ ! -e two/trials/1/events.jsonl ] || break
    sleep 0.01
done
t "a second driver is refused, the first named" 2 'run by process [0-9]+ on' "$m" "${slow[@]}"
t "status does not wait for the driver" 0 'running' "$m" status two
kill -9 $driver
wait $driver 2>/dev/null
t "after kill -9 of the driver the same command finishes" 0 \
    '24 trials' "$m" "${slow[@]}"
"$m" sweep sweep.yaml -q -o three -j 2 --train.steps=400 >/dev/null 2>&1
# The last columns (duration, attempt, twin, error) differ from run to run.
results() {
    sed -E 's/(,[^,]*){4}$//' "$1/trials.csv"
}
if [ "$(results three | grep -c DONE)" = 24 ] &&
    diff <(results two) <(results three) >diff.txt; then
    ok "... with the results of an unbroken sweep"
else
    not_ok "... with the results of an unbroken sweep" "$(head diff.txt)"
fi
"$m" sweep sweep.yaml -o four -q -j 2 --train.steps=400 >first.txt 2>&1 &
driver=$!
for _ in $(seq 1000); do
    [ ! -e four/trials/1/events.jsonl ] || break
    sleep 0.01
done
kill -INT $driver
code=0
wait $driver || code=$?
if [ $code = 7 ] && grep -q 'run the same command again' first.txt; then
    ok "Ctrl-C stops a sweep and says how to continue"
else
    not_ok "Ctrl-C stops a sweep and says how to continue" "exit code $code" \
        "$(cat first.txt)"
fi
t "a stopped sweep waits for its trials" 0 'waiting' "$m" status four
t "transfer from it warns or finds no winner under muP" 0 '' bash -c "
    '$m' transfer four target.yaml -n -o x.yaml >four.txt 2>&1; code=\$?;
    cat four.txt; case \$code in
    0) grep -q 'are not finished' four.txt ;;
    1) grep -qE 'standard parametrization|no winner' four.txt ;;
    *) false ;; esac"

exit $failed
