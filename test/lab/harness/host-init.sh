#!/bin/bash
# The first process of a lab host, inside its namespaces: makes it look like a machine of its own, says "ready" and
# stays. Killing it is the host's power cut.
#
#   host-init.sh NAME DIRECTORY INIT
set -euo pipefail
name=$1 directory=$2 init=$3

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

if [ -e "$directory/state.img" ]; then
  mount -o loop "$directory/state.img" "$directory/state"
fi

echo ready
# An init that reaps: shims and containers' orphans become its children.
exec "$init" -- sleep infinity
