/** A link that carries what the receiver says and nothing of what the agent sends. */
import { after, it } from 'node:test';
import { survivesCut } from './cuts.ts';
import { Lab } from './transfer-lab.ts';

const lab = new Lab();
after(() => lab.clean());

it('a link that is cut one way until the connections are given up: new ones go on where it was', async () => {
  await survivesCut(lab, 'one way');
});
