#!/usr/bin/env bash
# Used by scripts/test-arm64: run one command in an arm64 root, in mount and process namespaces of its own.
#
#   unshare --mount --pid --fork --kill-child scripts/arm64-enter.sh ROOT WORK CPU SECONDS COMMAND...
#
# Whatever happens to it, the kernel ends its processes and undoes its mounts. WORK is /srv and WORK/venv /opt/edgemm;
# the root and the checkout, /src, are read-only. CPU is cortex-a76 or cortex-a72.
set -euo pipefail
root=$1 work=$2 cpu=$3 seconds=$4 chroot=$(command -v chroot)
shift 4

read_only() {
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
}

mount --make-rprivate /
mkdir -p "$root/srv"  # a root that was cached earlier may lack it
read_only "$root" "$root"
mount -t proc proc "$root/proc"
# Without /sys LiteRT computes without XNNPACK; with the x86-64 list of processors it and ONNX Runtime crash.
mount --rbind /sys "$root/sys"
mount --bind "$work/cpuinfo" "$root/proc/cpuinfo"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
read_only "$PWD" "$root/src"
mount --bind "$work" "$root/srv"
mount --bind "$work/venv" "$root/opt/edgemm"
# No exec: this shell stays process 1, which the kernel spares the signals that are meant for the command.
timeout --signal=KILL "$seconds" env -i PATH=/opt/edgemm/bin:/usr/bin HOME=/tmp LANG=C.UTF-8 QEMU_CPU="$cpu" \
    "$chroot" "$root" "$@" < /dev/null
