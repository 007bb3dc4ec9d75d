/** Jobs whose every point is disturbed in turn. */
import { RehostError } from '../../../appliance/api/errors.ts';
import { type Point, World } from './world.ts';

interface Scenario {
  readonly name: string;
  /** How an undisturbed one ends. */
  readonly ends: 'done' | 'failed';
  /** The point from which on it differs from the first scenario: those before are disturbed there. */
  readonly from: string;
  /** The point from which on it is like the first scenario again. */
  readonly until?: string;
  readonly prepare: (world: World) => void;
}

export const SCENARIOS: readonly Scenario[] = [
  { name: 'a job that goes well', ends: 'done', from: 'driver.probe 1', prepare: () => {} },
  {
    name: 'a job whose conversion fails',
    ends: 'failed',
    from: 'receiver.convert.status 1',
    prepare: (world) => {
      world.conversion = new RehostError('CONVERSION_FAILED', 'The guest has no kernel.');
    },
  },
  {
    name: 'a job whose transfer VM dies in the copy',
    ends: 'done',
    from: 'driver.vmState 3',
    until: 'receiver.copy.release 1',
    prepare: (world) => world.at('receiver.copy.status 3', 'after', () => world.transferVmDies()),
  },
  {
    name: 'a job whose transfer VM dies in the verification',
    ends: 'done',
    from: 'driver.vmState 3',
    until: 'receiver.copy.release 1',
    prepare: (world) => world.at('receiver.verify.status 1', 'after', () => world.transferVmDies()),
  },
  {
    name: 'a job whose source machine is booted again in the copy',
    ends: 'done',
    from: 'agent.export.status 2',
    until: 'receiver.copy.release 1',
    prepare: (world) => world.at('receiver.copy.status 3', 'after', () => world.agentReboots()),
  },
];

/** Calls that change nothing: whether one of them was answered makes no difference. */
const READS = /\.(probe|vmState|networks|pools|findVolume|listVolumes|ownedVms|cacheMode|screenshot|status)$/;

export function changes({ kind }: Point): boolean {
  return !READS.test(kind);
}

/** A world with this scenario; closed by `work`'s end. */
export async function inWorld<T>(scenario: Scenario, work: (world: World) => Promise<T>): Promise<T> {
  const world = await World.open();
  try {
    scenario.prepare(world);
    return await work(world);
  } finally {
    await world.close();
  }
}

/** The points of an undisturbed job that are disturbed, in order. */
export async function pointsOf(scenario: Scenario): Promise<Point[]> {
  return await inWorld(scenario, async (world) => {
    const job = await world.orderToEnd();
    if (job?.state !== scenario.ends) throw new Error(`${scenario.name}: ends ${job?.state}: ${job?.error?.message}`);
    await world.check(job);
    const from = world.points.findIndex(({ name }) => name === scenario.from);
    if (from < 0) throw new Error(`${scenario.name}: there is no point ${scenario.from}`);
    const until =
      scenario.until === undefined ? undefined : world.points.findIndex(({ name }) => name === scenario.until);
    if (until !== undefined && until <= from) throw new Error(`${scenario.name}: ${scenario.until} does not follow`);
    return world.points.slice(from, until);
  });
}
