#!/usr/bin/env bash
# Prepares a Linux host for Corelane: CPU governor, network interrupts, limits, memory.
#
#   deploy/tune.sh            says what it would change, and changes nothing
#   deploy/tune.sh --apply    changes it, as root, until the next boot; says each change before it is made
#   deploy/tune.sh --check    as without, and ends with 1 if anything is to be changed
#
# --user NAME      the user that the broker runs as [corelane]; for the limits of its logins
# --irq-cpus LIST  CPUs for the interrupts of network cards, such as 0-1 [the CPUs that shards do not use, else all]
# --cores N        how many shards run, on CPUs 0 to N-1 [all CPUs]
#
# What holds beyond a boot is said where it is the system's to keep (tuned, systemd, GRUB).
set -euo pipefail

APPLY=no CHECK=no USER_NAME=corelane IRQ_CPUS='' CORES=$(nproc)
CHANGES=0
SYS=${TUNE_ROOT:-}/sys
PROC=${TUNE_ROOT:-}/proc
ETC=${TUNE_ROOT:-}/etc

usage() { sed -n '2,13s/^# \{0,1\}//p' "$0"; }

value() { # flag, what follows it
    [ $# -ge 2 ] || { echo "tune.sh: $1 needs a value" >&2; exit 2; }
    printf '%s' "$2"
}

while [ $# -gt 0 ]; do
    case $1 in
    --apply) APPLY=yes ;;
    --check) CHECK=yes ;;
    --user) USER_NAME=$(value "$@"); shift ;;
    --irq-cpus) IRQ_CPUS=$(value "$@"); shift ;;
    --cores) CORES=$(value "$@"); shift ;;
    --help | -h) usage; exit 0 ;;
    *) echo "tune.sh: unknown option $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
if [ $APPLY = yes ] && [ -z "${TUNE_ROOT:-}" ] && [ "$(id -u)" -ne 0 ]; then
    echo "tune.sh: --apply needs root" >&2
    exit 2
fi

say() { printf '%-9s %s\n' "$1" "$2"; }

# Says that a file should hold a value, and writes it when asked to.
want() { # file, value, why
    local file=$1 value=$2 why=$3 now
    [ -e "$file" ] || return 0
    now=$(tr -s '[:space:]' ' ' <"$file" | sed 's/ $//')
    # A choice shows the chosen one in brackets.
    [[ $now =~ \[([^]]*)\] ]] && now=${BASH_REMATCH[1]}
    if [ "$now" = "$value" ]; then
        say fine "$file is $value"
        return
    fi
    CHANGES=$((CHANGES + 1))
    say "$([ $APPLY = yes ] && echo change || echo would)" "$file: $now -> $value ($why)"
    [ $APPLY = yes ] || return 0
    printf '%s\n' "$value" >"$file" || say FAILED "$file refuses $value"
}

# The same for a number that may also be larger.
want_at_least() { # file, value, why
    local now
    [ -e "$1" ] || return 0
    now=$(cat "$1")
    if [ "$now" -ge "$2" ]; then say fine "$1 is $now"; else want "$@"; fi
}

# The same for a number that may also be smaller.
want_at_most() { # file, value, why
    local now
    now=$(cat "$1")
    if [ "$now" -le "$2" ]; then say fine "$1 is $now"; else want "$@"; fi
}

governor() {
    local file found=no
    for file in "$SYS"/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do
        [ -e "$file" ] || continue
        found=yes
        want "$file" performance "a core that slows down while it waits for the disk answers late"
    done
    [ $found = yes ] || say skip "no CPU frequency control here (a virtual machine?)"
}

# CPUs that no shard runs on, as a list; nothing when shards run on all.
spare_cpus() {
    local last
    last=$(($(nproc) - 1))
    [ "$CORES" -le "$last" ] || return 0
    if [ "$CORES" -eq "$last" ]; then echo "$last"; else echo "$CORES-$last"; fi
}

# Interrupts of network cards go where no shard is, so that a shard is not interrupted in the middle of a turn. When
# every CPU has a shard they are spread over all, and irqbalance does that well.
interrupts() {
    local cpus=${IRQ_CPUS:-$(spare_cpus)} device irq found=no
    if [ -z "$cpus" ]; then
        say skip "every CPU has a shard: interrupts stay where irqbalance puts them (--irq-cpus or --cores to change)"
        return
    fi
    for device in "$SYS"/class/net/*/device/msi_irqs; do
        [ -d "$device" ] || continue
        for irq in "$device"/*; do
            irq=$PROC/irq/$(basename "$irq")/smp_affinity_list
            [ -e "$irq" ] || continue
            found=yes
            want "$irq" "$cpus" "interrupts of network cards away from shards"
        done
    done
    [ $found = yes ] || say skip "no network card with interrupts of its own"
    if [ $found = yes ] && pgrep -x irqbalance >/dev/null 2>&1; then
        say note "irqbalance runs and will move interrupts again: stop it, or set IRQBALANCE_BANNED_CPULIST"
    fi
}

kernel() {
    want_at_least "$PROC/sys/fs/nr_open" 1000000 "a descriptor per connection"
    want_at_least "$PROC/sys/net/core/somaxconn" 4096 "bursts of connections wait in the kernel, not at the client"
    want_at_least "$PROC/sys/net/ipv4/tcp_max_syn_backlog" 4096 "the same"
    want "$PROC/sys/kernel/io_uring_disabled" 0 "the broker does not start without io_uring"
    want "$PROC/sys/vm/swappiness" 1 "memory of a broker that is swapped out stops a core"
    want "$SYS/kernel/mm/transparent_hugepage/enabled" madvise "huge pages that nobody asked for are made while a core waits"
}

disks() {
    local queue
    for queue in "$SYS"/block/nvme*/queue; do
        [ -d "$queue" ] || continue
        want "$queue/scheduler" none "NVMe orders requests by itself"
    done
    for queue in "$SYS"/block/*/queue; do
        case $queue in */loop* | */ram* | */zram*) continue ;; esac
        [ -e "$queue/read_ahead_kb" ] || continue
        want_at_most "$queue/read_ahead_kb" 512 "commits wait behind what is read ahead of consumers of old data"
    done
}

limits() {
    local file=$ETC/security/limits.d/corelane.conf text
    text="# Written by Corelane's deploy/tune.sh; systemd units have limits of their own.
$USER_NAME soft nofile 1000000
$USER_NAME hard nofile 1000000
$USER_NAME soft memlock unlimited
$USER_NAME hard memlock unlimited"
    if [ -e "$file" ] && [ "$(cat "$file")" = "$text" ]; then
        say fine "$file"
        return
    fi
    CHANGES=$((CHANGES + 1))
    say "$([ $APPLY = yes ] && echo change || echo would)" "$file: nofile 1000000, memlock unlimited for $USER_NAME (logins; the unit has its own)"
    [ $APPLY = yes ] || return 0
    mkdir -p "$(dirname "$file")"
    printf '%s\n' "$text" >"$file"
}

governor
interrupts
kernel
disks
limits
if [ $CHANGES -eq 0 ]; then
    say "done" "nothing to change"
elif [ $APPLY = yes ]; then
    say "done" "$CHANGES changed, until the next boot where /proc and /sys are meant"
else
    say "done" "$CHANGES to change; --apply does it"
    [ $CHECK = no ] || exit 1
fi
