/** Jobs whose every point is disturbed in turn. */
import { RehostError } from '../../../appliance/api/errors.ts';
import { type Point, World } from './world.ts';

interface Scenario {
  readonly name: string;
  /** How an undisturbed one ends. */
  readonly ends: 'done' | 'failed';
  /** The point from which on it differs from the first scenario: those before are disturbed there. */
  readonly from: string;
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

/** The points of an undisturbed job, in order. */
export async function pointsOf(scenario: Scenario): Promise<Point[]> {
  return await inWorld(scenario, async (world) => {
    const job = await world.orderToEnd();
    if (job?.state !== scenario.ends) throw new Error(`${scenario.name}: ends ${job?.state}: ${job?.error?.message}`);
    await world.check(job);
    const from = world.points.findIndex(({ name }) => name === scenario.from);
    if (from < 0) throw new Error(`${scenario.name}: there is no point ${scenario.from}`);
    return world.points.slice(from);
  });
}
