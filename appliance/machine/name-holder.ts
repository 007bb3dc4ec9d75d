/**
 * Whose name a machine gets at its approval, or whom it continues. Each boot of a source makes a new key, so a machine that was rebooted
 * is a new one, except to a job that waits for it.
 */
import { RehostError } from '../api/errors.ts';
import type { Inventory } from '../api/inventory.ts';
import { isWorking } from '../job/states.ts';
import type { DeepReadonly, StoreData, StoredMachine } from '../store/schema.ts';

/**
 * The machine that has this name and gives it up to `newcomer`: it is offline, no job runs with it, and it is the same hardware.
 * Undefined where the name is free; NAME_TAKEN where its holder keeps it.
 */
export function holderToReplace(
  data: DeepReadonly<StoreData>,
  name: string | undefined,
  newcomer: DeepReadonly<Inventory>,
  online: (id: string) => boolean,
): DeepReadonly<StoredMachine> | undefined {
  const holder = name === undefined ? undefined : data.machines.find((stored) => stored.name === name);
  if (!holder) return undefined;
  const why = reasonToKeep(data, holder, newcomer, online);
  if (why === undefined) return holder;
  throw new RehostError('NAME_TAKEN', `The machine '${holder.id}' is named '${name}' already, and ${why}.`, {
    next: `Choose another name, or run 'rehost forget ${holder.id}' if that machine is not needed any more.`,
  });
}

/**
 * The machine that `newcomer` is: the same hardware, booted again while a job works with it, so that the job can go on. Only one that is
 * offline, and only where the person gives its name: what firmware and disks say of themselves is no proof. Undefined where there is none, or
 * more than one: then nobody guesses. REQUEST_INVALID where no name was given and there is one.
 */
export function machineToContinue(
  data: DeepReadonly<StoreData>,
  name: string | undefined,
  newcomer: DeepReadonly<Inventory>,
  online: (id: string) => boolean,
): DeepReadonly<StoredMachine> | undefined {
  const candidates = data.machines.filter(
    (stored) =>
      !online(stored.id) &&
      sameHardware(stored.inventory, newcomer) &&
      data.jobs.some((job) => job.machineId === stored.id && isWorking(job.state)),
  );
  const [first] = candidates;
  if (name === undefined && first) {
    throw new RehostError('REQUEST_INVALID', `This looks like the machine '${first.name}', whose job waits for it.`, {
      next: `Approve it with '--name ${first.name}' to let that job go on with it, or with another name as a new machine.`,
    });
  }
  const [named, second] = candidates.filter((stored) => stored.name === name);
  return second ? undefined : named;
}

function reasonToKeep(
  data: DeepReadonly<StoreData>,
  holder: DeepReadonly<StoredMachine>,
  newcomer: DeepReadonly<Inventory>,
  online: (id: string) => boolean,
): string | undefined {
  if (online(holder.id)) return 'it is online';
  const running = data.jobs.find((job) => job.machineId === holder.id && isWorking(job.state));
  if (running) return `job ${running.id} works with it`;
  return sameHardware(holder.inventory, newcomer) ? undefined : 'it is other hardware';
}

/** By what firmware and disks say of themselves. A machine without a UUID is never taken for another. */
function sameHardware(one: DeepReadonly<Inventory>, other: DeepReadonly<Inventory>): boolean {
  const serials = ({ disks }: DeepReadonly<Inventory>): string =>
    JSON.stringify(disks.map(({ serial }) => serial).sort());
  return one.uuid !== '' && one.uuid === other.uuid && serials(one) === serials(other);
}
