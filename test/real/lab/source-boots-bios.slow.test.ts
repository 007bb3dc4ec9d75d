import { test } from 'node:test';
import { bootsFromItsOwnDisk } from './source-boots.ts';

void test('source machine: the bios kind boots from its own disk and its data is whole', (t) =>
  bootsFromItsOwnDisk(t, 'bios'));
