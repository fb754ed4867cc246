#!/bin/bash
# Becomes systemd of one machine: `boot.sh ROOT GATE`, in new namespaces of every kind but users. ROOT is an
# overlay on this computer's own root. GATE is a file that appears when the network is there.
set -euo pipefail
root=$1 gate=$2

mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"        # systemd leaves settings of the kernel alone where it cannot write
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
if [ -d /sys/fs/cgroup/systemd ]; then
    mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
else
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
for place in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${place%:*}" "$root/dev/${place#*:}"; done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
ip link set lo up
until [ -e "$gate" ]; do sleep 0.05; done
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
# What is the computer's and not a machine's: its clock, its log, its modules, whether it runs.
exec env -i container=machines-check PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set=-sys_time,-sys_boot,-sys_module,-sys_rawio,-syslog,-wake_alarm \
    /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=0 < /dev/null
