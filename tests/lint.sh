#!/bin/bash
# The rules of the house, as far as a program can check them:
#   tests/lint.sh BUILD      BUILD holds fresh objects and the working directory
#                            a fresh compile_commands.json
# Prints one line a finding, exit code 1 if there is any.
set -uo pipefail
export LC_ALL=C

build=${1:-build}
# Generated objects of generated sources would be no finding.
mapfile -t sources < <(git ls-files -co --exclude-standard '*.c' '*.h')
findings=$(mktemp)
trap 'rm -f "$findings"' EXIT

finding() {
    printf '%s\n' "$*" >>"$findings"
}

began=$SECONDS
section() {
    printf '  %-28s %s\n' "$1" "$((SECONDS - began)) s"
}

check_format() {
    clang-format --dry-run -Werror "${sources[@]}" 2>&1 |
        grep -E 'error:' | sed 's/error: code should be/format:/' \
        >>"$findings"
}

# launcher 5 > sweep 4 > model 3 > configs 2 > mup 1; plots sees mup alone.
check_includes() {
    awk '
    BEGIN {
        level["mup"] = 1; level["configs"] = 2; level["model"] = 3;
        level["sweep"] = 4; level["launcher"] = 5; level["plots"] = 4.5;
        level["tests"] = 9;
    }
    FNR == 1 { here = FILENAME; sub(/\/.*/, "", here); }
    /^#include "/ {
        split($0, q, "\"");
        to = q[2];
        there = to;
        sub(/\/.*/, "", there);
        if (!(there in level))
            printf "%s:%d: include %s by its path from the top\n",
                   FILENAME, FNR, to;
        else if (level[there] > level[here] ||
            (here == "plots" && there != "plots" && there != "mup"))
            printf "%s:%d: includes %s, which it must not know\n",
                   FILENAME, FNR, to;
    }' "${sources[@]}" >>"$findings"
}

# Text of the sources without comments and strings, "file:line:text".
stripped() {
    awk '
    FNR == 1 { comment = 0; }
    {
        line = $0; out = "";
        while (length(line)) {
            if (comment) {
                i = index(line, "*/");
                if (!i) { line = ""; break; }
                line = substr(line, i + 2); comment = 0; continue;
            }
            c = substr(line, 1, 1);
            if (substr(line, 1, 2) == "/*") {
                comment = 1; line = substr(line, 3); continue;
            }
            if (substr(line, 1, 2) == "//") break;
            if (c == "\"" || c == "\047") {
                rest = substr(line, 2);
                while (length(rest) && substr(rest, 1, 1) != c)
                    rest = substr(rest, substr(rest, 1, 1) == "\\" ? 3 : 2);
                out = out c c; line = substr(rest, 2); continue;
            }
            out = out c; line = substr(line, 2);
        }
        printf "%s:%d:%s\n", FILENAME, FNR, out;
    }' "$@"
}

check_words() {
    local banned='strcpy|strcat|sprintf|vsprintf|atoi|atol|atof|strtok|gets'

    banned+='|rand|srand|localtime|gmtime|popen|abort|alloca|setjmp'
    banned+='|longjmp|tmpnam|mktemp'
    stripped "${sources[@]}" >"$findings.code"
    grep -E ":.*(^|[^a-zA-Z0-9_])($banned) *\(" "$findings.code" |
        sed 's/$/  <- banned function/' >>"$findings"
    grep -vE '^tests/' "$findings.code" |
        grep -E ':.*(^|[^a-zA-Z0-9_])system *\(' |
        sed 's/$/  <- banned function/' >>"$findings"
    grep -vE '^(launcher|plots|tests)/' "$findings.code" |
        grep -E ':.*(^|[^a-zA-Z0-9_])(printf|puts|putchar|perror|exit|_exit) *\(' |
        sed 's/$/  <- libraries neither print nor exit/' >>"$findings"
    grep -vE '^(launcher|plots|tests)/' "$findings.code" |
        grep -E ':.*[^a-zA-Z0-9_](stdout|stderr)[^a-zA-Z0-9_]' |
        sed 's/$/  <- libraries do not print/' >>"$findings"
    rm -f "$findings.code"
    grep -nwE '(TODO|FIXME|XXX)' "${sources[@]}" | grep -v '#[0-9]' |
        sed 's/$/  <- without an issue number/' >>"$findings"
    grep -nE ' +$' "${sources[@]}" | sed 's/$/  <- blank at the end/' \
        >>"$findings"
}

check_lengths() {
    local f n

    for f in "${sources[@]}"; do
        n=$(wc -l <"$f")
        [ "$n" -le 800 ] || finding "$f: $n lines, 800 are enough"
    done
    # With this layout a function ends at the first "}" in column one, and its
    # body starts at a "{" there.
    awk '
    /^\{/ { start = FNR; }
    /^\}/ && start {
        if (FNR - start + 1 > 72)
            printf "%s:%d: a function of %d lines, 70 are enough\n",
                   FILENAME, start, FNR - start - 1;
        start = 0;
    }' "${sources[@]}" >>"$findings"
}

# Objects with writable data.  The signal flag is the one allowed variable.
check_globals() {
    local object line

    while read -r object; do
        # Tables of pointers are relocated, so "d" with const is .data.rel.ro:
        # objdump names the section.
        objdump -t "$object" 2>/dev/null |
            awk -v o="${object#"$build"/}" '
            $0 ~ / O / {
                section = ""; for (i = 1; i <= NF; i++)
                    if ($i ~ /^\./) { section = $i; break; }
                if (section ~ /^\.(data|bss)/ && section !~ /^\.data\.rel\.ro/)
                    print o ": mutable variable " $NF;
            }'
    done < <(find "$build"/{mup,configs,model,sweep,plots,launcher} -name '*.o' \
        2>/dev/null) | grep -v 'launcher/stop.o: mutable variable stop_signal' \
        >>"$findings"
    [ -f "$build/launcher/main.o" ] || finding "no objects in $build: build first"
}

# The only main is launcher/main.c; a test has its own.
check_main() {
    grep -lE '^int main\(' "${sources[@]}" | grep -vE '^(launcher/main.c|tests/)' |
        sed 's/$/: a second main/' >>"$findings"
}

check_cppcheck() {
    # The headers of the system are not searched: what they declare is known
    # to cppcheck's own library files.  readdir is safe in a single thread.
    cppcheck --quiet --enable=warning,performance,portability --inline-suppr \
        --std=c11 -I. -DREF_REAL=float -DFAST_ISA=v3 -j "$(nproc)" \
        --library=posix --suppress=missingIncludeSystem \
        --suppress=unknownMacro --suppress=readdirCalled \
        --template='{file}:{line}: cppcheck {id}: {message}' \
        mup configs model sweep plots launcher 2>&1 |
        grep -v '^Checking' >>"$findings"
}

# tidy OPTION...: the files named on stdin, NUL between them.
tidy() {
    xargs -0 -r -n 4 -P "$(nproc)" clang-tidy -p . --quiet "$@" \
        >>"$findings.tidy" 2>/dev/null
}

# The definitions of what tests/analyzer.h replaces are analysed without it;
# where a file asks for more than POSIX, the question must come before it.
check_tidy() {
    local feature='^#define _(GNU|XOPEN|DEFAULT)_SOURCE'
    local with=(--extra-arg=-include --extra-arg=tests/analyzer.h)

    : >"$findings.tidy"
    printf '%s\0' "${sources[@]}" | grep -zE '\.c$' |
        grep -zvE '^(tests/|mup/error.c|configs/yaml.c)' >"$findings.files"
    xargs -0 grep -LZE "$feature" <"$findings.files" | tidy "${with[@]}"
    xargs -0 grep -lZE "$feature" <"$findings.files" |
        tidy --extra-arg=-D_GNU_SOURCE= "${with[@]}"
    printf '%s\0' mup/error.c configs/yaml.c | tidy
    grep -E '(warning|error):' "$findings.tidy" | sort -u |
        sed "s,^$PWD/,,; s/error: /tidy: /; s/,-warnings-as-errors//" \
            >>"$findings"
    rm -f "$findings.tidy" "$findings.files"
}

check_shell() {
    local f

    for f in $(git ls-files -co --exclude-standard '*.sh' .ci/run); do
        bash -n "$f" 2>>"$findings"
    done
}

check_format
section format
check_includes
check_words
check_lengths
check_globals
check_main
check_shell
section "rules"
check_cppcheck
section cppcheck
check_tidy
section clang-tidy

if [ -s "$findings" ]; then
    cat "$findings"
    printf 'lint: %d findings\n' "$(wc -l <"$findings")"
    exit 1
fi
printf 'lint: clean\n'
