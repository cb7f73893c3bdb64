#!/bin/bash
# What 'make install' puts somewhere works from there: the program, the man
# page, and libmup by way of its pkg-config file.
set -uo pipefail
export LC_ALL=C

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
prefix=$work/stage/opt/mup

t() {
    local name=$1 out

    shift
    if out=$("$@" 2>&1); then
        printf 'ok - %s\n' "$name"
    else
        printf 'not ok - %s\n%s\n' "$name" "$out"
        failed=1
    fi
}

# The build that the tests use, sanitizers or not.
san=
[ "$(basename "${BUILD:-build}")" = san ] && san=1
t "make install into a folder of its own" \
    make -C "$top" --no-print-directory install ${san:+SAN=1} \
    DESTDIR="$work/stage" PREFIX=/opt/mup
for file in bin/mutransfer include/mup/mup.h lib/libmup.a \
    lib/pkgconfig/mup.pc share/man/man1/mutransfer.1; do
    t "... installs $file" test -s "$prefix/$file"
done
t "... and no private header" test ! -e "$prefix/include/mup/rules.h"
t "the installed program runs" "$prefix/bin/mutransfer" --version

# Libraries with sanitizers want a program with sanitizers.
if command -v pkg-config >/dev/null && [ -z "$san" ]; then
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    read -ra flags < <(pkg-config --define-variable=prefix="$prefix" \
        --cflags --libs mup)
    cp "$top/tests/example_mup.c" "$work"
    cd "$work" || exit 1
    t "the README's example compiles with pkg-config" \
        "${CC:-cc}" -std=c11 example_mup.c -o example "${flags[@]}"
    t "... and prints what the README says" \
        diff <(./example) <(grep -E '^    [a-z.]+ +std x ' "$top/mup/README.md" |
            sed 's/^    //')
    printf '#include "mup/mup.h"\n#include "mup/coord.h"\n' >headers.c
    t "the installed headers stand alone" \
        "${CC:-cc}" -std=c11 -Wall -Werror -c headers.c "${flags[@]:0:1}"
    if command -v c++ >/dev/null; then
        printf '%s\n' '#include "mup/mup.h"' \
            'int main() { return mup_is_muon(MUP_HIDDEN) ? 0 : 1; }' >linked.cc
        t "... and link from C++" c++ linked.cc -o linked "${flags[@]}"
        t "... where they say the same" ./linked
    fi
else
    echo 'ok - skipped: no pkg-config, or a build with sanitizers'
fi
exit $failed
