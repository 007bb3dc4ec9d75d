/** What the REST API asks of the job engine. */
import type { Job, JobLimits, JobOrder, JobProgress } from '../api/job.ts';

export interface JobService {
  /** Preflight, a durable record, then the work begins. */
  order(order: JobOrder): Promise<Job>;
  list(): Job[];
  /** JOB_UNKNOWN. */
  get(id: string): Job;
  progress(id: string): JobProgress | null;
  /** JOB_UNKNOWN, JOB_ENDED. */
  cancel(id: string): Promise<Job>;
  /** Goes on with a failed job whose verified replicas were kept. JOB_UNKNOWN, JOB_ENDED, NAME_TAKEN. */
  retry(id: string): Promise<Job>;
  /** Stands still in every phase until it is resumed. JOB_UNKNOWN, JOB_ENDED. */
  pause(id: string): Promise<Job>;
  /** JOB_UNKNOWN, JOB_ENDED. */
  resume(id: string): Promise<Job>;
  /** Also while it runs. JOB_UNKNOWN, JOB_ENDED. */
  limit(id: string, limits: JobLimits): Promise<Job>;
  /** Checks an ended job's replicas against its manifest. JOB_UNKNOWN, REQUEST_INVALID, NOT_FOUND, MANIFEST_INVALID. */
  verify(id: string): Promise<Job>;
  /** File of the job's log; it may not be there yet. JOB_UNKNOWN. */
  logPath(id: string): string;
  on(event: 'change', listener: (jobId: string) => void): unknown;
}
