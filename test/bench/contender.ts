/** What is compared: something that copies one source to one target. */
import type { Site } from './site.ts';
import type { Trial } from './trial.ts';

/** One copy to make. */
export interface Errand {
  site: Site;
  /** File of the source. */
  source: string;
  sourceBytes: number;
  /** File or block device of the target; undefined for nothing. */
  target: string | undefined;
  /** For what a contender writes: keys, pid files. Emptied for each run. */
  folder: string;
}

export interface Contender {
  /** Short and unique, for JSON and ratios. */
  id: string;
  /** What exactly ran, for the table. */
  name: string;
  /** Programs that it needs. */
  programs: readonly string[];
  /** Starts its servers, calls `begin`, copies, calls `end`. The trial ends what it started. */
  copy(trial: Trial, errand: Errand): Promise<void>;
}
