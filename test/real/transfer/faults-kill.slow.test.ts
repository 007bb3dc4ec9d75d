/** SIGKILL of each end at twenty random moments, in copies of one to three kills; the seed is told, and can be given (REHOST_SEED). */
import { it } from 'node:test';
import { survive, type Victim } from './kills.ts';
import { Lab } from './transfer-lab.ts';

const seed = Number(process.env.REHOST_SEED ?? Date.now() % 1_000_000);
const KILLS = 20;

for (const victim of ['agent', 'receiver', 'both'] satisfies Victim[]) {
  let left = KILLS;
  for (let round = 0; left > 0; round++) {
    const kills = Math.min(left, 1 + (round % 3));
    left -= kills;
    const own = seed + 100 * round;
    it(`a copy survives ${kills} kills: ${victim} (seed ${own})`, async (t) => {
      const lab = new Lab();
      try {
        const { resumed } = await survive(lab, own, victim, kills);
        t.diagnostic(JSON.stringify(resumed));
      } finally {
        await lab.clean();
      }
    });
  }
}
