/** Parts of the engine's outside, each call of which passes a point. */
import type { HypervisorDriver } from '../../../appliance/hypervisor/driver.ts';
import type { JobStore } from '../../../appliance/job/dependencies.ts';
import type { Store } from '../../../appliance/store/store.ts';

export type Pass = <T>(kind: string, act: () => Promise<T>) => Promise<T>;

/** The driver, each call of which passes a point. */
export function passing(driver: HypervisorDriver, pass: Pass): HypervisorDriver {
  return new Proxy(driver, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== 'function') return method;
      return (...given: unknown[]) =>
        pass(`driver.${String(name)}`, async () => await Reflect.apply(method, target, given));
    },
  });
}

/** As the store itself: a record is taken as it is at the call, and written after those before it. */
export function inOrder(store: Store, pass: Pass): JobStore {
  let last: Promise<unknown> = Promise.resolve();
  return {
    all: () => store.all(),
    save: (job) => {
      const copy = structuredClone(job);
      const mine = last.then(() => pass('store.save', () => store.save(copy)));
      last = mine.catch(() => undefined);
      return mine;
    },
  };
}
