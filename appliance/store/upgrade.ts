/** State files of earlier versions as this version reads them. Only what is missing is filled in; the schema's check follows. */
import { blankJob } from '../job/blank.ts';

/** The parsed file with the fields that its jobs lack. What is no state at all is left as it is, for the check to say so. */
export function upgrade(value: unknown): unknown {
  if (!isRecord(value) || !Array.isArray(value.jobs)) return value;
  return { ...value, jobs: value.jobs.map(upgradeJob) };
}

function upgradeJob(job: unknown): unknown {
  if (!isRecord(job)) return job;
  const manifests = Array.isArray(job.manifests) ? job.manifests.map(upgradeManifest) : job.manifests;
  return { ...blankJob(), ...job, manifests };
}

/** The first version counted pieces of 1 MiB and did not always say how holes were checked; its lists were not kept. */
function upgradeManifest(manifest: unknown): unknown {
  if (!isRecord(manifest) || !('pieces' in manifest)) return manifest;
  const { pieces, holes = 'sampled', ...rest } = manifest;
  return { ...rest, blocks: pieces, holes };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
