#!/bin/sh
# Called by BusyBox's uevent for every event of the kernel, its facts in the environment: devices that appear after the
# search at boot (USB, slow controllers) get their driver, disks become read-only, links ask for an address.
[ "$ACTION" = add ] || [ "$ACTION" = bind ] || exit 0
. /usr/lib/rehost/boot.sh
[ -z "$MODALIAS" ] || modprobe -bq "$MODALIAS"
case $SUBSYSTEM in
block) blockdev --setro "/dev/$DEVNAME" ;;
net) start_dhcp "$INTERFACE" ;;
esac
