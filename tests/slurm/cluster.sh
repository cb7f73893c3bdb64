#!/bin/bash
# A real Slurm cluster on this one machine, for tests:
#   cluster.sh up STATE [--nodes N] [--cpus C] [--netns]
#   cluster.sh down STATE [--wipe]
#   eval "$(cluster.sh env STATE)"
#   cluster.sh FAULT STATE [NODE]     the faults: tests/slurm/README.md
# Everything lives in the folder STATE: nothing in /etc or /var is touched.  As
# root every node is a "machine": namespaces of its own for its host name, its
# mounts and, with --netns, its network.  A plain user's nodes are slurmd alone.
# shellcheck disable=SC2015 # a check that fails ends the program
set -uo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

state_max=60      # unix sockets below it have 107 characters
disk_mib=64       # a node's own disk, as root
port_first=10000  # a block of ports a cluster, below the ephemeral ones
port_blocks=340
nodes_max=64

say() {
    printf 'cluster: %s\n' "$*"
}
fail() {
    printf 'cluster: %s\n' "$*" >&2
    exit 1
}
refuse() { # what the caller can mend
    printf 'cluster: %s\n' "$*" >&2
    exit 2
}


# last_words NAME: why a daemon does not start.
last_words() {
    cat "$state/log/$1.log" "$state/log/$1.start" 2>/dev/null |
        grep -iE 'error|fatal|cannot|denied' | tail -n 1
}

# until_true SECONDS COMMAND...: false if it never was.
until_true() {
    local end=$((${EPOCHREALTIME/./} + $1 * 1000000))

    shift
    until "$@"; do
        [ "${EPOCHREALTIME/./}" -lt $end ] || return 1
        sleep 0.05
    done
}

# ---- who is there --------------------------------------------------------------
# Found by what they have open, or by their environment: a pid in a file may
# belong to somebody else by now, slurmstepd overwrites its environment with its
# title, and a process that has died but was not reaped has neither.

# holders NAME: the processes that have the log of daemon NAME open.
holders() {
    find /proc/[0-9]*/fd -lname "$state/log/$1.log" 2>/dev/null |
        cut -d/ -f3 | sort -u
}

# named PATTERN: those of the pids on stdin.
named() {
    local pid comm

    while read -r pid; do
        read -r comm 2>/dev/null <"/proc/$pid/comm" && [[ $comm =~ ^($1)$ ]] &&
            echo "$pid"
    done
}

slurmd_of() {
    holders "$1" | named slurmd
}
stepds_of() {
    holders "$1" | named slurmstepd
}

# Those that outlive a killed slurmstepd are known by their environment, those
# that have another one by their parents.
tasks_of() {
    local -a ours

    mapfile -t ours < <(grep -lzxF "SLURM_CONF=$conf" /proc/[0-9]*/environ \
        2>/dev/null)
    {
        [ ${#ours[@]} = 0 ] ||
            grep -lzxF "SLURMD_NODENAME=$1" "${ours[@]}" 2>/dev/null |
            cut -d/ -f3
        ps -e -o pid=,ppid=,stat= | awk -v roots="$(stepds_of "$1" | xargs)" '
        BEGIN { n = split(roots, r); for (i in r) root[r[i]] = below[r[i]] = 1; }
        { parent[$1] = $2; zombie[$1] = $3 ~ /^Z/; }
        END {
            while (n) {
                n = 0;
                for (p in parent)
                    if (!(p in below) && parent[p] in below) {
                        below[p] = 1;
                        n++;
                    }
            }
            for (p in below)
                if (!(p in root) && !zombie[p])
                    print p;
        }'
    } | sort -u
}

all_of() { # NODE, without its machine
    {
        holders "$1"
        tasks_of "$1"
    } | sort -u
}

# slay WHO...: kill -9 whom the command prints, until it prints nobody.  Twice
# nobody: a process that was just starting may be missed once.
slay() {
    local pids quiet=0

    for _ in $(seq 200); do
        pids=$("$@")
        if [ -n "$pids" ]; then
            quiet=0
            # shellcheck disable=SC2086 # one word a process
            kill -9 $pids 2>/dev/null
        elif [ $((++quiet)) = 2 ]; then
            return
        fi
        sleep 0.02
    done
    fail "these processes do not die: $pids"
}

# ---- the machines of the nodes ---------------------------------------------------
# A process that sleeps holds the namespaces of a node: they outlast its slurmd.
machine_of() {
    find /proc/[0-9]*/fd/1 -lname "$state/log/$1.machine" 2>/dev/null |
        cut -d/ -f3 | head -n 1
}

# on NODE COMMAND...
on() {
    local node=$1 pid

    shift
    if [ "$machines" = 0 ]; then
        "$@"
    else
        pid=$(machine_of "$node")
        [ -n "$pid" ] || fail "the machine of '$node' is gone; down and up again"
        # Not "ip netns exec": it mounts a new /sys, where slurmd misses the
        # cgroups.
        nsenter --target "$pid" --uts --mount --net --wd=/ -- "$@"
    fi
}

machine_start() { # NODE NUMBER
    local node=$1 log=$state/log/$1.machine pid
    local -a own=(--uts --mount)

    [ "$netns" = 0 ] || own+=(--net)
    : >"$log"
    # Own /dev/shm: two nodes' shared memory of one name must not meet.
    # shellcheck disable=SC2016 # expands in there
    setsid unshare "${own[@]}" bash -c '
        hostname "$1" && mount --bind "$2/hosts" /etc/hosts &&
            mount -t tmpfs -o size="$3m" disk "$2/disk" &&
            mount -t tmpfs shm /dev/shm &&
            { [ "$4" = 0 ] || ip link set lo up; } &&
            echo ready && exec sleep infinity' - \
        "$node" "$state" $disk_mib "$netns" </dev/null >"$log" 2>&1 &
    pid=$!
    until_true 5 grep -q ready "$log" ||
        fail "no machine for '$node': $(tail -n 1 "$log")"
    [ "$netns" = 1 ] || return 0
    ip link add "$bridge-$2" type veth peer name eth0 netns $pid &&
        ip link set "$bridge-$2" master "$bridge" up &&
        on "$node" ip addr add "$subnet.$((100 + $2))/24" dev eth0 &&
        on "$node" ip link set eth0 up ||
        fail "no network for '$node'"
}

# ---- starting --------------------------------------------------------------------
address() { # NUMBER, 0 is the controller
    if [ "$netns" = 1 ]; then
        echo "$subnet.$((100 + $1))"
    else
        echo 127.0.0.1
    fi
}

# A block of ports nobody listens on; where to look first depends on the folder,
# so that clusters that start at the same time look elsewhere.
choose_ports() {
    local sum used try p

    sum=$(cksum <<<"$state" | cut -d' ' -f1)
    used=" $(ss -Htln | awk '{sub(/.*:/, "", $4); print $4}' | xargs) "
    for try in $(seq 0 $((port_blocks - 1))); do
        block=$(((sum + try) % port_blocks))
        port=$((port_first + block * (nodes_max + 1)))
        for p in $(seq $port $((port + nodes))); do
            [ "${used/ $p /}" = "$used" ] || continue 2
        done
        bridge=mut$block
        subnet=10.$((210 + block / 256)).$((block % 256))
        [ "$netns" = 0 ] || [ ! -e "/sys/class/net/$bridge" ] || continue
        return
    done
    fail "no $((nodes + 1)) free ports from $port_first on"
}

write_conf() {
    local k

    # cred_expire: a job may start again that long after it was lost; under 5
    # Slurm takes 120.  TmpFS: nodes must not share what PMIx puts there.
    # SrunPortRange: above the ephemeral ports, shared by all clusters.
    cat >"$conf" <<END
ClusterName=mutransfer
SlurmctldHost=$(hostname -s)($(address 0))
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$state/munge/socket,cred_expire=5
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/spool/%n
TmpFS=$state/spool/%n
SlurmctldPidFile=$state/run/ctld.pid
SlurmdPidFile=$state/run/%n.pid
SlurmctldLogFile=$state/log/ctld.log
SlurmdLogFile=$state/log/%n.log
JobCompType=jobcomp/filetxt
JobCompLoc=$state/log/jobs
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
SrunPortRange=61001-65000
SlurmdTimeout=10
MessageTimeout=5
KillWait=2
ReturnToService=2
JobRequeue=1
END
    for k in $(seq "$nodes"); do
        echo "NodeName=node$k NodeHostname=node$k NodeAddr=$(address "$k")" \
            "Port=$((port + k)) CPUs=$cpus State=UNKNOWN"
    done >>"$conf"
    cat >>"$conf" <<END
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=2 State=UP
END
    # Nothing here uses cgroups, but slurmd looks for them; told which kind, it
    # does not mind that there are none.
    echo CgroupPlugin=cgroup/v1 >"$state/cgroup.conf"
    {
        echo "127.0.0.1 localhost"
        echo "$(address 0) $(hostname -s)"
        for k in $(seq "$nodes"); do
            echo "$(address "$k") node$k"
        done
    } >"$state/hosts"
}

# The settings are what later commands know the cluster by.
write_settings() {
    printf '%s=%s\n' nodes "$nodes" cpus "$cpus" netns "$netns" \
        machines "$machines" port "$port" bridge "$bridge" subnet "$subnet" \
        >"$state/cluster"
}

munge_start() {
    local dir=$state/munge

    head -c 1024 /dev/urandom >"$dir/key"
    chmod 600 "$dir/key"
    # -F -f: the permissions of the folders above are the user's business.
    setsid munged -F -f --key-file="$dir/key" --socket="$dir/socket" \
        --pid-file="$dir/pid" --seed-file="$dir/seed" \
        --num-threads=2 </dev/null >"$state/log/munge.log" 2>&1 &
    until_true 10 test -S "$dir/socket" ||
        fail "munged does not start: $(last_words munge)"
}

ctld_answers() {
    scontrol ping 2>/dev/null | grep -q 'is UP'
}

ctld_start() { # OPTION...
    slurmctld "$@" </dev/null >"$state/log/ctld.start" 2>&1
    until_true 10 ctld_answers ||
        fail "slurmctld does not start: $(last_words ctld)"
}

slurmd_start() { # NODE
    mkdir -p "$state/spool/$1"
    on "$1" slurmd -N "$1" </dev/null >"$state/log/$1.start" 2>&1 ||
        fail "slurmd of '$1' does not start: $(last_words "$1")"
}

all_idle() {
    [ "$(sinfo -h -p main -N -o %t 2>/dev/null | grep -cx idle)" = "$nodes" ]
}

running() {
    [ -n "$(holders ctld)$(holders munge)" ]
}

preconditions() {
    local program

    for program in slurmctld slurmd munged srun ss; do
        command -v $program >/dev/null || refuse "no '$program' here; as root:" \
            "apt-get install slurmctld slurmd slurm-client munge" \
            "slurm-wlm-basic-plugins iproute2"
    done
    machines=0
    if [ "$(id -u)" = 0 ]; then
        if unshare --uts --mount true 2>/dev/null; then
            machines=1
        else
            say "namespaces are not permitted here: the nodes share a host name" \
                "and have no disk of their own"
        fi
    fi
    [ "$netns" = 0 ] || [ $machines = 1 ] ||
        refuse "--netns needs root, and the right to make namespaces"
    [ "$netns" = 0 ] || unshare --net true 2>/dev/null ||
        refuse "--netns: this machine does not permit network namespaces"
}

do_up() {
    local node k

    nodes=4 cpus=2 netns=0
    while [ $# -gt 0 ]; do
        case $1 in
        --nodes) nodes=${2:-} && shift ;;
        --cpus) cpus=${2:-} && shift ;;
        --netns) netns=1 ;;
        *) refuse "up does not know '$1'" ;;
        esac
        shift
    done
    [[ $nodes =~ ^[1-9][0-9]?$ ]] && [ "$nodes" -le $nodes_max ] ||
        refuse "--nodes: '$nodes' is not 1 to $nodes_max"
    [[ $cpus =~ ^[1-9][0-9]{0,2}$ ]] || refuse "--cpus: '$cpus' is not 1 to 999"
    if running; then
        say "already running in $state"
        return
    fi
    preconditions
    if [ -f "$state/cluster" ]; then
        # Leftovers of a run that went down without "down".
        (load && stop_all)
    elif [ -n "$(ls -A "$state" 2>/dev/null)" ]; then
        refuse "'$state' holds other things; name a new folder"
    fi
    mkdir -p "$state" || refuse "cannot make '$state'"
    # Jobs of an earlier run are forgotten: their ids are given again.
    rm -rf "${state:?}"/{ctld,spool,run,munge,log}
    mkdir -p "$state"/{ctld,spool,run,munge,log,disk}
    choose_ports
    write_settings
    write_conf
    trap stop_all EXIT
    if [ "$netns" = 1 ]; then
        ip link add "$bridge" type bridge &&
            ip addr add "$(address 0)/24" dev "$bridge" &&
            ip link set "$bridge" up || fail "no bridge '$bridge'"
    fi
    munge_start
    ctld_start -c
    for k in $(seq "$nodes"); do
        [ $machines = 0 ] || machine_start "node$k" "$k"
        slurmd_start "node$k"
    done
    until_true 20 all_idle || fail "not all nodes came up: $(sinfo -N 2>&1)"
    trap - EXIT
    say "$nodes nodes of $cpus CPUs in $state, port $port$(
        [ "$netns" = 0 ] || echo ", network $subnet.0/24")"
}

# ---- stopping --------------------------------------------------------------------
machines_all() {
    find /proc/[0-9]*/fd/1 -lname "$state/log/node*.machine" 2>/dev/null |
        cut -d/ -f3
}

# An srun whose step was killed with its daemons would wait for ever.
clients() {
    grep -lzxF "SLURM_CONF=$conf" /proc/[0-9]*/environ 2>/dev/null |
        cut -d/ -f3 | named 'srun|salloc|sattach'
}

everybody() {
    local k

    {
        clients
        holders '*'
        for k in $(seq "$nodes"); do
            tasks_of "node$k"
        done
    } | sort -u
}

stop_all() {
    local k

    slay everybody
    slay machines_all
    [ "$netns" = 1 ] || return 0
    for k in $(seq "$nodes"); do
        ip link del "$bridge-$k" 2>/dev/null
    done
    ip link del "$bridge" 2>/dev/null
    return 0
}

do_down() {
    stop_all
    [ "${1:-}" != --wipe ] || rm -rf "${state:?}"
    say "down"
}

# ---- faults ----------------------------------------------------------------------
node_state() { # NODE
    scontrol show node -o "$1" 2>/dev/null | sed -n 's/.* State=\([^ ]*\) .*/\1/p'
}

# A node that is DOWN or drained is resumed; then it still does not respond for
# up to 5 s.
node_ready() {
    local now

    now=$(node_state "$1")
    case $now in
    *DOWN* | *DRAIN* | *FAIL*)
        scontrol update nodename="$1" state=resume 2>/dev/null
        return 1
        ;;
    '' | *RESPOND* | *COMPLETING* | UNKNOWN*) return 1 ;;
    esac
}

registered_since() { # NODE SECONDS
    local at

    at=$(scontrol show node -o "$1" 2>/dev/null |
        sed -n 's/.* SlurmdStartTime=\([^ ]*\) .*/\1/p')
    at=$(date -d "$at" +%s 2>/dev/null) && [ "$at" -ge "$2" ]
}

do_start_node() {
    local began

    [ "$netns" = 0 ] || set_link "$1" up
    if [ -z "$(slurmd_of "$1")" ]; then
        printf -v began '%(%s)T' -1
        slurmd_start "$1"
        until_true 30 registered_since "$1" "$began" ||
            fail "'$1' does not register: $(last_words "$1")"
    fi
    until_true 60 node_ready "$1" || fail "'$1' stays $(node_state "$1")"
}

signal_all() { # SIGNAL NODE: twice, for what was just starting
    local pids

    for _ in 1 2; do
        pids=$(all_of "$2")
        # shellcheck disable=SC2086 # one word a process
        [ -z "$pids" ] || kill "-$1" $pids 2>/dev/null
    done
}

set_link() { # NODE up|down
    [ "$netns" = 1 ] || refuse "only a cluster of 'up --netns' has networks to cut"
    ip link set "$bridge-${1#node}" "$2"
}

# Who loses its power says no goodbye: no connection is seen to close.
do_kill_node() {
    [ "$netns" = 0 ] || set_link "$1" down
    slay all_of "$1"
}

fill_disk() { # NODE
    [ "$machines" = 1 ] || refuse "only nodes started as root have disks to fill"
    on "$1" dd if=/dev/zero of="$state/disk/fill" bs=64k 2>/dev/null
    [ "$(on "$1" stat -f -c %a "$state/disk")" = 0 ] ||
        fail "the disk of '$1' does not fill"
}

free_disk() { # NODE
    [ "$machines" = 1 ] || refuse "only nodes started as root have disks to fill"
    on "$1" rm -f "$state/disk/fill"
}

# ---- the rest ----------------------------------------------------------------------
load() {
    # shellcheck disable=SC1091 # written by write_settings
    . "$state/cluster"
}

do_env() {
    printf 'export SLURM_CONF=%q\n' "$conf"
    if [ "$(id -u)" = 0 ]; then
        echo 'export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1'
    fi
    # Ranks that wait must not keep the others of a crowded core from working.
    echo 'export OMPI_MCA_mpi_yield_when_idle=1'
    # One way to meet, as the launcher has it: supervise_ranks.c says why.
    echo 'export SLURM_PMIX_FENCE=ring'
    # Bridges of other clusters here come and go, with their addresses.
    if [ "$netns" = 1 ]; then
        echo 'unset OMPI_MCA_btl_tcp_if_exclude'
    else
        echo 'export OMPI_MCA_btl_tcp_if_exclude=127.0.0.1/8,sppp,10.210.0.0/15'
    fi
    if [ "$machines" = 1 ]; then
        printf 'export MUTRANSFER_NODE_DISK=%q\n' "$state/disk"
    else
        # Nodes of one host name are one to OpenMPI.
        echo 'export OMPI_MCA_btl=tcp,self'
    fi
}

do_status() {
    local k node pid cut

    # A dead controller is not asked: that takes 4 s a question.
    pid=$(holders ctld | xargs)
    printf '%-8s %-24s slurmctld %s\n' ctld \
        "$([ -n "$pid" ] && ctld_answers && echo up)" "${pid:-dead}"
    [ -n "$pid" ] || node_state() { :; }
    for k in $(seq "$nodes"); do
        node=node$k cut=
        pid=$(slurmd_of "$node" | xargs)
        [ "$netns" = 0 ] || [ $(($(<"/sys/class/net/$bridge-$k/flags") & 1)) = 1 ] ||
            cut=", cut"
        printf '%-8s %-24s slurmd %s, %d steps, %d tasks%s\n' "$node" \
            "$(node_state "$node")" "${pid:-dead}" \
            "$(stepds_of "$node" | wc -l)" "$(tasks_of "$node" | wc -l)" "$cut"
    done
}

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 2
}

# The daemons must not hold open what a caller of ours waits for.
close_inherited() {
    local fd

    for fd in "/proc/$$/fd/"*; do
        fd=${fd##*/}
        [ "$fd" -le 2 ] || [ "$fd" = 255 ] || eval "exec $fd>&-"
    done
}

[ $# -ge 2 ] || usage
close_inherited
verb=$1
state=$(realpath -m -- "$2")
shift 2
[[ $state =~ ^[A-Za-z0-9._/-]+$ ]] ||
    refuse "'$state': only letters, digits and ._-/ can be in Slurm's paths"
[ ${#state} -le $state_max ] || refuse "'$state' has ${#state} characters," \
    "$state_max are the most: its sockets would have too long names"
conf=$state/slurm.conf
export SLURM_CONF=$conf

[ "$verb" != up ] || { do_up "$@" && exit; }
if [ ! -f "$state/cluster" ]; then
    [ "$verb" != down ] || { say "nothing in $state" && exit; }
    refuse "no cluster in '$state'; start it with: up $state"
fi
load
node=${1:-}
case $verb in
*-node | *-slurmd | *-tasks | *-disk | cut | heal)
    [[ $node =~ ^node[1-9][0-9]?$ ]] && [ "${node#node}" -le "$nodes" ] ||
        refuse "$verb: '$node' is not one of node1 to node$nodes"
    ;;
esac
case $verb in
down) do_down "$@" ;;
env) do_env ;;
status) do_status ;;
kill-node) do_kill_node "$node" ;;
kill-slurmd) slay slurmd_of "$node" ;;
kill-tasks) slay tasks_of "$node" ;;
stop-node) signal_all STOP "$node" ;;
cont-node) signal_all CONT "$node" ;;
start-node) do_start_node "$node" ;;
cut) set_link "$node" down ;;
heal) set_link "$node" up ;;
fill-disk) fill_disk "$node" ;;
free-disk) free_disk "$node" ;;
kill-ctld) slay holders ctld ;;
start-ctld) [ -n "$(holders ctld)" ] || ctld_start ;;
*) usage ;;
esac
