/** What the worlds of these tests have in common. */
import { RehostError } from '../../../appliance/api/errors.ts';
import type { Machine } from '../../../appliance/api/rest.ts';
import { inventory } from '../../lab/orchestrator/inventory.ts';

export const MACHINE = '0123456789abcdef';
export const NAME = 'copy-1';
/** As short as they can be; nobody who is still to come takes longer than a receiver may be away, ms. */
export const PAUSES = {
  cleanUpMs: 1,
  saveMs: 1,
  poolFullMs: 1,
  pollMs: 1,
  hypervisorMs: 1,
  hypervisorAwayMs: 10,
  receiverAwayMs: 500,
  agentQuietMs: 10,
  agentAwayMs: 2000,
};
export const KEYS = { transfer: Buffer.alloc(32, 7), manifest: Buffer.alloc(32, 8) };

export function machine(id: string, name: string): Machine {
  const now = '2026-01-02T03:04:05.000Z';
  const facts = inventory();
  return { id, name, approved: true, online: true, firstSeenAt: now, lastSeenAt: now, address: '', inventory: facts };
}

export const unreachable = (): never => {
  throw new RehostError('HYPERVISOR_UNREACHABLE', 'The hypervisor does not answer.');
};
