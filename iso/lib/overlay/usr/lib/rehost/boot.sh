# Steps of both images' init scripts. POSIX sh, sourced; every wait is bounded.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
umask 022

# Clocks that stand before this have lost their battery; the pinned certificates are valid from 2000 on, seconds since 1970.
CLOCK_EARLIEST=1735689600
# Between two starts of the program at most, and how long it must have run to be called well, seconds.
RESTART_WAIT_MAX=30
RESTART_WELL=60

say() {
	echo "rehost: $*"
}

# Has the kernel command line this word?
booted_with() {
	case " $(cat /proc/cmdline) " in
	*" $1 "*) return 0 ;;
	esac
	return 1
}

mount_system() {
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	mount -t devtmpfs devtmpfs /dev
	mkdir -p /dev/pts /dev/shm
	mount -t devpts devpts /dev/pts
	mount -t tmpfs -o mode=1777 shm /dev/shm
	mount -t tmpfs -o mode=755 run /run
	mount -t tmpfs -o mode=1777 tmp /tmp
	ln -s /proc/self/fd /dev/fd
	mkdir -p /run/lease
}

# Everything that is said from here on goes to every console of the kernel command line, not to the last one alone.
say_on_all_consoles() {
	# /sys/class/tty/console/active: "tty0 ttyS0"; the last one is /dev/console.
	others=
	for name in $(cat /sys/class/tty/console/active); do
		[ -n "$last" ] && others="$others /dev/$last"
		last=$name
	done
	[ -n "$others" ] || return 0
	mkfifo /run/console
	# shellcheck disable=SC2086 # a list of words
	tee $others </run/console >/dev/console 2>/dev/null &
	exec >/run/console 2>&1
}

set_clock() {
	if [ "$(date +%s)" -lt "$CLOCK_EARLIEST" ]; then
		date -s "@$CLOCK_EARLIEST" >/dev/null
		say 'the clock of this machine had stopped; it begins again at 2025'
	fi
}

# An Ethernet link of real or virtual hardware (ARPHRD_ETHER is 1), not a bridge or tunnel of software.
is_ethernet() {
	[ -e "/sys/class/net/$1/device" ] && [ "$(cat "/sys/class/net/$1/type")" = 1 ]
}

# Asks for an address on one link until it goes away, and keeps the lease. A second call for the same link does nothing.
start_dhcp() {
	is_ethernet "$1" && mkdir "/run/dhcp.$1" 2>/dev/null || return 0
	ip link set "$1" up
	udhcpc -f -i "$1" -t 5 -T 2 -A 5 -s /usr/lib/rehost/udhcpc.sh >/dev/null 2>&1 &
}

# Goes on in the background: the program starts at once and waits for an address itself.
start_network() {
	ip link set lo up
	for link in /sys/class/net/*; do
		start_dhcp "${link##*/}"
	done
}

# Runs the program for ever. The first restart follows at once, then the waits double.
supervise() {
	wait=0
	while true; do
		started=$(cut -d. -f1 /proc/uptime)
		# One arena for all threads of the C library's allocator: each of them would keep a few MiB of its own. And a small
		# nursery: what these programs make in the JS heap is little, and V8 would keep up to 48 MiB of it unswept.
		# shellcheck disable=SC2086 # a list of words
		MALLOC_ARENA_MAX=1 node --max-semi-space-size=1 ${NODE_FLAGS:-} /usr/lib/rehost/main.mjs
		code=$?
		ran=$(($(cut -d. -f1 /proc/uptime) - started))
		[ "$ran" -ge "$RESTART_WELL" ] && wait=0
		say "the program ended with $code after $ran s; starting it again in $wait s"
		sleep "$wait"
		wait=$((wait * 2 + 1))
		[ "$wait" -gt "$RESTART_WAIT_MAX" ] && wait=$RESTART_WAIT_MAX
	done
}
