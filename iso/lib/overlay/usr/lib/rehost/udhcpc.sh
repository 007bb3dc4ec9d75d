#!/bin/sh
# What udhcpc calls on every event of a lease: sets address, routes and name servers of $interface.
# Arguments and variables: BusyBox's networking/udhcp and examples/udhcp/simple.script.

lease=/run/lease/$interface

forget() {
	rm -f "$lease"
	write_resolv_conf
}

# Every link's servers, each once.
write_resolv_conf() {
	cat /run/lease/* 2>/dev/null | awk '!seen[$0]++' >/run/resolv.conf.$$
	mv /run/resolv.conf.$$ /etc/resolv.conf
}

configure() {
	# A renewal of the same address changes nothing, so that connections live on.
	if ! ip -4 addr show dev "$interface" | grep -q " $ip/$mask "; then
		ip -4 addr flush dev "$interface"
		ip -4 addr add "$ip/$mask" broadcast "${broadcast:-+}" dev "$interface"
	fi
	# The first link that came up is preferred; the others stay as second choices.
	metric=$((100 + $(cat "/sys/class/net/$interface/ifindex")))
	for gateway in $router; do
		# A gateway outside of the network (cloud networks with a /32) is reached on the link itself.
		ip -4 route replace "$gateway" dev "$interface" metric "$metric" 2>/dev/null
		ip -4 route replace default via "$gateway" dev "$interface" metric "$metric" && break
	done
	{
		[ -z "$domain" ] || echo "search $domain"
		for server in $dns; do echo "nameserver $server"; done
	} >"$lease.new"
	mv "$lease.new" "$lease"
	write_resolv_conf
}

case $1 in
deconfig)
	ip link set "$interface" up
	ip -4 addr flush dev "$interface"
	forget
	;;
bound | renew) configure ;;
leasefail | nak) forget ;;
esac
exit 0
