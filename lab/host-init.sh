#!/bin/bash
# The first process of a lab host, inside its namespaces: makes it look like a machine of its own, says "ready" and
# stays. Killing it is the host's power cut.
#
#   host-init.sh NAME DIRECTORY INIT CONTROL_GROUPS       v2: control groups of version 2; machine: those of the machine
set -euo pipefail
name=$1 directory=$2 init=$3 groups=$4

hostname "$name"
# As on a machine that systemd booted: mounts made here are seen by containers that ask for it, but not by the outside.
mount --make-rshared /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/docker/plugins /run/lock

# Look-ups fail at once instead of after ten seconds: nothing listens there.
resolv=$(readlink -m /etc/resolv.conf)
mkdir -p "$(dirname "$resolv")"
[ -e "$resolv" ] || : >"$resolv"
mount --bind "$directory/resolv.conf" "$resolv"

# The engine takes what it finds here.
if [ "$groups" = v2 ]; then
  umount --recursive /sys/fs/cgroup
  mount -t cgroup2 none /sys/fs/cgroup
fi

if [ -e "$directory/state.img" ]; then
  mount -o loop "$directory/state.img" "$directory/state"
fi

echo ready
# An init that reaps: shims and containers' orphans become its children.
exec "$init" -- sleep infinity
