# Loads the drivers of what is plugged in. Sourced.

# A controller's driver brings up devices that need drivers of their own; more steps than this no machine has.
COLDPLUG_ROUNDS=8

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
