import { type Demo, startDemo } from '../../src/simulator/demo.ts';
import { createTestDatabase } from './database.ts';
import { silent } from './world.ts';

/** The demo on a database of the tests' server: one of its own takes seconds to be made. */
export async function startTestDemo(): Promise<Demo> {
  const db = await createTestDatabase();
  const demo = await startDemo({ port: 0, logger: silent, databaseUrl: db.url });
  return {
    ...demo,
    async stop() {
      await demo.stop();
      await db.close();
    },
  };
}
