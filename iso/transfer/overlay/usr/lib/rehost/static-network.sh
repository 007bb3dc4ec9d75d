# The config disk may carry "network":{"address":"a.b.c.d/n","gateway":"..."}; then that is set and no DHCP is asked.
# Only these two strings are taken, and only digits, dots and a slash of them; the receiver reads the disk's JSON properly.

# Disks behind virtio-scsi appear a moment after their driver, tenths of a second.
CONFIG_WAIT=20

config_disk() {
	for disk in /sys/block/*; do
		disk=/dev/${disk##*/}
		[ "$(head -c 15 "$disk" 2>/dev/null | tr -d '\0')" = REHOST-CONFIG-1 ] && echo "$disk" && return 0
	done
	return 1
}

# The named string of the "network" object, or nothing.
network_string() {
	head -c 65536 "$1" | tr -d '\0' | tr '\n' ' ' |
		sed -n 's|.*"network" *: *{\([^{}]*\)}.*|\1|p' | sed -n "s|.*\"$2\" *: *\"\([0-9./]*\)\".*|\1|p"
}

# Succeeds when the config disk has an address and the first Ethernet link has it now.
static_network() {
	tenths=0
	until disk=$(config_disk); do
		[ -e /sys/bus/virtio/drivers/virtio_scsi ] && [ -n "$(ls /sys/class/scsi_host 2>/dev/null)" ] || return 1
		[ "$tenths" -lt "$CONFIG_WAIT" ] || return 1
		sleep 0.1
		tenths=$((tenths + 1))
	done
	address=$(network_string "$disk" address)
	[ -n "$address" ] || return 1
	ip link set lo up
	for link in /sys/class/net/*; do
		link=${link##*/}
		is_ethernet "$link" || continue
		ip link set "$link" up
		ip -4 addr add "$address" broadcast + dev "$link" || return 1
		gateway=$(network_string "$disk" gateway)
		[ -z "$gateway" ] || ip -4 route add default via "$gateway" dev "$link"
		return 0
	done
	return 1
}
