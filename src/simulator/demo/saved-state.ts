import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { DemoWorld } from './world.ts';

/** The simulated platforms' memory, saved so that it matches the database in `DATA_DIR` at the next start. */
type SavedState = {
  readonly intercom: object;
  readonly revenueCat: object;
  readonly cards: DemoWorld['cards'];
  readonly labels: ReadonlyMap<string, string>;
  readonly messengerKey: string;
};

type Simulated = Pick<DemoWorld, 'intercom' | 'revenueCat' | 'cards' | 'labels'>;

const FILE = 'demo-state';

export async function saveState(dataDir: string, world: Simulated, messengerKey: string): Promise<void> {
  const { intercom, revenueCat, cards, labels } = world;
  const state: SavedState = {
    intercom: intercom.state,
    revenueCat: revenueCat.state,
    cards,
    labels,
    messengerKey,
  };
  await writeFile(join(dataDir, FILE), serialize(state), { mode: 0o600 });
}

/**
 * Puts the platforms back into the state of the last run.
 *
 * @returns the Messenger's API key; `null`: nothing was saved in this folder
 */
export async function restoreState(dataDir: string, world: Simulated): Promise<string | null> {
  const file = await readFile(join(dataDir, FILE)).catch((error: unknown) => {
    if ((error as { code?: unknown }).code === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return null;
  const saved = deserialize(file) as SavedState;
  Object.assign(world.intercom.state, saved.intercom);
  Object.assign(world.revenueCat.state, saved.revenueCat);
  world.cards.push(...saved.cards);
  for (const [id, label] of saved.labels) world.labels.set(id, label);
  return saved.messengerKey;
}
