#!/bin/bash
# Install the Debian packages that are missing, and say which.  Nothing is done,
# in a few milliseconds, where all are there.
#
#   launcher/setup.sh [build|cluster|lint|fuzz ...]     default: build
set -euo pipefail
export LC_ALL=C

build="gcc make pkg-config libyaml-dev libjansson-dev libdnnl-dev
    liblapacke-dev libopenblas-dev libsqlite3-dev libxxhash-dev
    libopenmpi-dev openmpi-bin libslurm-dev
    gnuplot-nox fonts-liberation libcmocka-dev"
# A SLURM of its own for the tests: nothing of it is configured or started.
cluster="slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge
    libpmix-dev iproute2"
lint="clang-format clang-tidy cppcheck"
fuzz="clang libclang-rt-14-dev"

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 3
}

wanted=""
for set in "${@:-build}"; do
    case $set in
    build) wanted+=" $build" ;;
    cluster) wanted+=" $cluster" ;;
    lint) wanted+=" $lint" ;;
    fuzz) wanted+=" $fuzz" ;;
    *) fail "unknown set of packages '$set';" \
        "one of build, cluster, lint, fuzz" ;;
    esac
done
read -r -d '' -a wanted <<<"$wanted" || true

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    printf 'setup: this is not a Debian system, so nothing is installed;' >&2
    printf ' needed are the libraries of:\n  %s\n' "${wanted[*]}" >&2
    exit 0
fi

# "pkgname status"; a virtual package (pkg-config in later releases) counts.
have=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n${Provides}\n' \
    2>/dev/null || true)
missing=()
for package in "${wanted[@]}"; do
    if ! grep -qE "^$package installed|(^|, )$package( |,|$)" <<<"$have"; then
        missing+=("$package")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

printf 'installing: %s\n' "${missing[*]}"
root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "installing needs root and there is" \
        "no sudo; as root: apt-get install ${missing[*]}"
    root=(sudo)
    # Without a terminal a password cannot be asked for.
    if ! sudo -n true 2>/dev/null; then
        [ -t 0 ] || fail "installing needs root and sudo asks for a" \
            "password; run: sudo apt-get install ${missing[*]}"
    fi
fi

install() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends -o Dpkg::Use-Pty=0 \
        -o DPkg::Lock::Timeout=120 "${missing[@]}"
}
known() {
    apt-cache show --no-all-versions "${missing[@]}" >/dev/null 2>&1
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists of a fresh image are empty, those of an old one name files that
# the archive has replaced: update only then.
if ! known || ! install >"$log" 2>&1; then
    printf 'refreshing the package lists\n'
    "${root[@]}" apt-get update -qq >"$log" 2>&1 || {
        sed 's/^/  /' "$log" >&2
        fail "apt-get update failed; is there a network?"
    }
    install >"$log" 2>&1 || {
        tail -n 20 "$log" | sed 's/^/  /' >&2
        fail "apt-get could not install: ${missing[*]}"
    }
fi
