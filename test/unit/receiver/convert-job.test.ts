import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StepReport } from '../../../appliance/api/control.ts';
import { RehostError } from '../../../appliance/api/errors.ts';
import { ConvertJob } from '../../../receiver/control/convert-job.ts';
import type { ConvertRequest, ConvertResult } from '../../../receiver/convert/convert.ts';

const ORDER: Parameters<ConvertJob['start']>[0] = {
  disks: [{ disk: 'sda', serial: 'overlay-sda' }],
  options: { network: 'keep', nics: [], firmware: 'bios' },
};
const STEP: StepReport = { step: 'fstab', outcome: 'changed', detail: 'Done.', seconds: 1 };

/** A conversion that ends when `finish` is called, on a disk that is there. */
function slowJob(): { job: ConvertJob; asked: ConvertRequest[]; finish: (error?: Error) => void } {
  const asked: ConvertRequest[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<ConvertResult>();
  const job = new ConvertJob({
    // Not a disk: nobody scans it for partitions, and opening it changes nothing.
    find: () => ({ path: '/dev/null' }),
    log: () => undefined,
    convert: (request) => {
      asked.push(request);
      request.signal?.addEventListener('abort', () => reject(new RehostError('JOB_CANCELLED', 'Stopped.')));
      return promise;
    },
  });
  return { job, asked, finish: (error) => (error ? reject(error) : resolve({ guest: 'Debian 13', steps: [STEP] })) };
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000 && !condition(); tries++) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(condition());
}

void test('convert-job: idle, running with its steps, done with the guest; a second start attaches', async () => {
  const { job, asked, finish } = slowJob();
  assert.deepEqual(job.status(), { progress: 'idle', steps: [], guest: '', error: null });
  job.start(ORDER);
  job.start(ORDER);
  await until(() => asked.length > 0);
  asked[0]?.onStep(STEP);
  assert.deepEqual(job.status(), { progress: 'running', steps: [STEP], guest: '', error: null });
  assert.deepEqual(asked[0]?.disks, [{ disk: 'sda', device: '/dev/null' }]);
  finish();
  await until(() => !job.running);
  assert.deepEqual(job.status(), { progress: 'done', steps: [STEP], guest: 'Debian 13', error: null });
  job.start(ORDER);
  assert.equal(job.status().progress, 'done');
  assert.equal(asked.length, 1);
});

void test('convert-job: a failure stands with its code and is not tried again', async () => {
  const { job, asked, finish } = slowJob();
  job.start(ORDER);
  await until(() => asked.length > 0);
  finish(new RehostError('FILESYSTEM_DAMAGED', 'Bad.'));
  await until(() => !job.running);
  job.start(ORDER);
  assert.equal(job.status().progress, 'failed');
  assert.equal(job.status().error?.code, 'FILESYSTEM_DAMAGED');
});

void test('convert-job: stopping ends it and waits for the end', async () => {
  const { job, asked } = slowJob();
  job.start(ORDER);
  await until(() => asked.length > 0);
  await job.stop();
  assert.equal(job.status().error?.code, 'JOB_CANCELLED');
});
