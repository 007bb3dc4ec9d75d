/**
 * dnsmasq's configuration as a proxyDHCP and TFTP server: it gives no addresses and answers no names, it only adds to the
 * LAN's own DHCP server what a machine should boot (PXE 2.1, section 2.2.3).
 */

export interface DnsmasqFacts {
  interface: string;
  /** Network address and netmask of the interface, IPv4. */
  network: string;
  netmask: string;
  /** Folder with iPXE's binaries, readable for everyone: dnsmasq reads it as `nobody`. */
  ipxeDir: string;
  /** Where a machine that runs iPXE goes on. */
  scriptUrl: string;
}

/** iPXE's binary per firmware, by file name in Debian's ipxe package. */
export const IPXE_FILES = { bios: 'undionly.kpxe', uefi: 'ipxe.efi' } as const;

/**
 * Client system architectures (DHCP option 93) as numbers, because dnsmasq's names for 7 and 9 have changed places: 0 is
 * BIOS; 7 and 9 are x86-64 UEFI in RFC 4578 and in its errata, and firmware of both opinions exists.
 */
const ARCHITECTURES = [
  { number: 0, file: IPXE_FILES.bios },
  { number: 7, file: IPXE_FILES.uefi },
  { number: 9, file: IPXE_FILES.uefi },
] as const;

/** The configuration file. Every fact has been checked by the caller: none holds a newline or a comma. */
export function dnsmasqConfig(facts: DnsmasqFacts): string {
  return [
    // No DNS.
    'port=0',
    `interface=${facts.interface}`,
    'bind-interfaces',
    `dhcp-range=${facts.network},proxy,${facts.netmask}`,
    // It leases nothing: no lease file, no PID file, nothing is written.
    'leasefile-ro',
    'pid-file=',
    'user=nobody',
    'group=nogroup',
    'log-dhcp',
    'log-facility=-',
    'enable-tftp',
    `tftp-root=${facts.ipxeDir}`,
    // iPXE says who it is in option 175 (its encapsulated options).
    'dhcp-match=set:ipxe,175',
    ...ARCHITECTURES.flatMap(({ number, file }) => [
      `pxe-service=tag:!ipxe,${number},"Rehost",${file}`,
      `pxe-service=tag:ipxe,${number},"Rehost",${facts.scriptUrl}`,
    ]),
    '',
  ].join('\n');
}
