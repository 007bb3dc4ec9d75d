import { test } from 'node:test';
import { agentBoots } from './agent-image.ts';

void test('network boot: the agent image comes up on a BIOS machine, shows its code, and leaves the disk as it was', (t) =>
  agentBoots(t, 'bios'));
