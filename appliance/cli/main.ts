/** `rehost`: the command line client. */
import { dispatch } from './dispatch.ts';

// A reader that goes away early (`rehost log JOB | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});
process.exitCode = await dispatch(process.argv.slice(2), { out: process.stdout, err: process.stderr });
