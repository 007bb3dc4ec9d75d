/** Opens a lab with a process in it that ignores SIGTERM, says its names on stdout, and stays until it is killed. */
import { openLab } from '../../../lab/namespace.ts';

const lab = await openLab();
lab.spawn(['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'], { stdio: 'ignore' });
console.log(JSON.stringify({ namespace: lab.namespace, directory: lab.directory }));
setInterval(() => undefined, 60_000);
