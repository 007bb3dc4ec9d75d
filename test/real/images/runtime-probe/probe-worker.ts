import { parentPort } from 'node:worker_threads';
import koffi from 'koffi';

// koffi's binary is loaded a second time in a thread of its own, as the data path does it.
const identity = koffi.load('libc.so.6').func('int getpid()');
parentPort?.postMessage(identity() === process.pid);
