# Loads the drivers of what is plugged in. Sourced.

# A controller's driver brings up devices that need drivers of their own; more steps than this no machine has.
COLDPLUG_ROUNDS=8

# Whether Secure Boot is on is a variable of UEFI firmware. Read-only: nothing of the source changes.
mount_firmware_variables() {
	[ -d /sys/firmware/efi ] || return 0
	modprobe -q efivarfs
	mount -t efivarfs -o ro,nosuid,nodev,noexec efivarfs /sys/firmware/efi/efivars ||
		say 'the variables of the firmware cannot be read'
}

# One name per line of everything that waits for or has a driver.
modaliases() {
	find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u
}

# The kernel refuses writes to a read-only block device, whatever asks: the source is only ever read.
protect_disks() {
	for device in /sys/class/block/*; do
		blockdev --setro "/dev/${device##*/}" 2>/dev/null
	done
}

find_hardware() {
	round=0
	before=
	now=$(modaliases)
	while [ "$now" != "$before" ] && [ "$round" -lt "$COLDPLUG_ROUNDS" ]; do
		# -b takes each word for an alias first. One that no driver of the image has is no error.
		echo "$now" | tr '\n' '\0' | xargs -0 modprobe -abq 2>/dev/null
		protect_disks
		before=$now
		now=$(modaliases)
		round=$((round + 1))
	done
}
