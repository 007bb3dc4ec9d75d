/** SIGKILL of either end at random moments; the seed is told, and can be given (REHOST_SEED). */
import { after, it } from 'node:test';
import { survive, type Victim } from './kills.ts';
import { Lab } from './transfer-lab.ts';

const seed = Number(process.env.REHOST_SEED ?? Date.now() % 1_000_000);

for (const [index, victim] of (['agent', 'receiver', 'both'] satisfies Victim[]).entries()) {
  it(`a copy survives three kills: ${victim} (seed ${seed + index})`, async (t) => {
    const lab = new Lab();
    after(() => lab.clean());
    const { resumed } = await survive(lab, seed + index, victim, 3);
    t.diagnostic(JSON.stringify(resumed));
  });
}
