#!/bin/bash
# Real text for training, from Debian packages that are fetched and unpacked
# but not installed (no root needed), or from a folder of one's own.
#
#   configs/corpus.sh quickstart [OUTDIR]   9 MB to fetch: git-doc, vim-runtime
#   configs/corpus.sh debdoc     [OUTDIR]   67 MB to fetch: the documentation of
#                                           Linux, Python, Perl, Vim and git
#   configs/corpus.sh folder DIR [OUTDIR]   text files of your own
#
# Writes OUTDIR/NAME.bin, NAME-valid.bin and NAME.json (OUTDIR: corpus), prints
# the path of NAME.bin, and does nothing where quickstart or debdoc is there
# already.  Exit 3: the packages cannot be had here, one sentence says why.
#
# The texts are free (GPL, PSF, Vim and Artistic licences); none is passed on.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=$(realpath -m "${MUTRANSFER:-$here/build/bin/mutransfer}")

usage() {
    sed -n '5,8s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

say() {
    printf '%s\n' "$*" >&2
}

no_packages() {
    say "corpus: $*; bring your own text instead, any folder of text files:" \
        "make quickstart CORPUS=FOLDER"
    exit 3
}

need_program() {
    [ -x "$program" ] && return
    say "corpus: '$program' is not built yet: run make"
    exit 2
}

# ---- where the texts of a package lie ------------------------------------------
# name_of_part package patterns... (of tar, * also matches a slash)

# shellcheck disable=SC2034 # read by name, through local -n
{
    part_git=(git-doc './usr/share/doc/git*/*.txt')
    part_vim=(vim-runtime './usr/share/vim/vim[0-9]*/doc/*.txt')
    part_linux=(linux-doc-6.1 './usr/share/doc/linux-doc-6.1/html/_sources/*.txt')
    part_python=(python3.11-doc './usr/share/doc/python3.11/html/_sources/*.txt')
    part_perl=(perl-doc './usr/share/perl/*/pod/*.pod')
}

# Translations, and tables that are no prose.
excluded=('*/_sources/translations/*'
    '*/perlcn.pod' '*/perljp.pod' '*/perlko.pod' '*/perltw.pod'
    '*/perltoc.pod' '*/perluniprops.pod')

# ---- fetching ------------------------------------------------------------------

# apt-get update, where this user may do it.
update_lists() {
    say "corpus: refreshing the package lists"
    if [ "$(id -u)" = 0 ]; then
        apt-get -qq update >"$cache/apt.log" 2>&1
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        # shellcheck disable=SC2024 # the log is ours, not root's
        sudo -n apt-get -qq update >"$cache/apt.log" 2>&1
    else
        return 1
    fi
}

# download PACKAGE...: into the current folder; apt checks the hashes and
# leaves what is there already.
download() {
    local options=(-qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20
        -o Acquire::https::Timeout=20)

    # As root apt would drop to a user that cannot write here, and say so.
    if [ "$(id -u)" = 0 ]; then
        options+=(-o APT::Sandbox::User=root)
    fi
    apt-get "${options[@]}" download "$@" >"$cache/apt.log" 2>&1
}

# fetch PACKAGE...: into $cache.
fetch() {
    local package

    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        no_packages "this is no Debian system, apt-get is missing"
    fi
    mkdir -p "$cache"
    cd "$cache"
    say "corpus: fetching $* (unpacked below $outdir, not installed)"
    for package; do
        if ! apt-cache show "$package" >/dev/null 2>&1; then
            update_lists || true
            break
        fi
    done
    # Old lists name files that the archive has replaced: refresh, try again.
    if ! download "$@" && ! { update_lists && download "$@"; }; then
        no_packages "cannot fetch $* (apt-get:" \
            "$(sed -n '/^E: /{s///p;q}' "$cache/apt.log"))"
    fi
    cd "$here"
}

# Newest file of a package in $cache.
deb_of() {
    local newest

    newest=$(find "$cache" -maxdepth 1 -name "$1_*.deb" -printf '%T@ %p\n' |
        sort -n | tail -1 | cut -d' ' -f2-)
    [ -n "$newest" ] || no_packages "apt-get left no file of $1"
    printf '%s\n' "$newest"
}

# unpack PART: its texts to $work/text/PART, its version to $work/packages.
unpack() {
    local -n part=part_$1
    local deb exclude=() pattern

    for pattern in "${excluded[@]}"; do
        exclude+=(--exclude="$pattern")
    done
    deb=$(deb_of "${part[0]}")
    mkdir -p "$work/text/$1"
    # Paths lose what depends on the version, so that the split does not.
    dpkg-deb --fsys-tarfile "$deb" |
        tar -x -C "$work/text/$1" --no-same-owner --no-same-permissions \
            --transform='s,^\./usr/share/\(doc/\|perl/\|vim/\)[^/]*/,,' \
            --wildcards "${exclude[@]}" "${part[@]:1}" >&2 ||
        no_packages "$deb does not hold its texts where Debian 12 puts them"
    dpkg-deb --show --showformat='${Package} ${Version}\n' "$deb" \
        >>"$work/packages"
}

# ---- preparing -----------------------------------------------------------------

# prepare NAME TEXT OPTION...: TEXT stands in the manifest as it is given.
prepare() {
    local output=$outdir/$1.bin text=$2

    shift 2
    "$program" data prepare --text "$text" -o "$output" "$@" >&2
    printf '%s\n' "$output"
}

from_packages() {
    local name=$1 part packages=()

    shift
    if [ -s "$outdir/$name.bin" ] && [ -s "$outdir/$name-valid.bin" ] &&
        [ -s "$outdir/$name.json" ]; then
        printf '%s\n' "$outdir/$name.bin"
        return
    fi
    need_program
    work=$(mktemp -d "$outdir/unpack.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    for part; do
        local -n row=part_$part
        packages+=("${row[0]}")
    done
    fetch "${packages[@]}"
    for part; do
        unpack "$part"
    done
    sort "$work/packages" >"$outdir/$name.packages"
    cd "$work"
    prepare "$name" text --packages "$outdir/$name.packages"
    cd "$here"
}

[ $# -ge 1 ] || usage
recipe=$1
shift
if [ "$recipe" = folder ]; then
    [ $# -ge 1 ] || usage
    folder=$1
    shift
    [ -r "$folder" ] || {
        say "corpus: cannot read '$folder': give a folder of text files"
        exit 2
    }
    folder=$(realpath "$folder")
fi
[ $# -le 1 ] || usage
outdir=${1:-$here/corpus}
mkdir -p "$outdir"
outdir=$(cd "$outdir" && pwd)
cache=$outdir/cache

case $recipe in
quickstart) from_packages quickstart git vim ;;
debdoc) from_packages debdoc git linux perl python vim ;;
folder)
    need_program
    prepare folder "$folder"
    ;;
*) usage ;;
esac
