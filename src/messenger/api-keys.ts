import { randomBytes } from 'node:crypto';
import { hashSecret } from '../workspaces/secrets.ts';

/** What a key opens: `messenger` mints identity tokens and support links, `fin` answers the Fin data connector. */
export const API_KEY_KINDS = ['messenger', 'fin'] as const;

export type ApiKeyKind = (typeof API_KEY_KINDS)[number];

const MARKS: Readonly<Record<ApiKeyKind, string>> = { messenger: 'stm', fin: 'stf' };
const RANDOM_BYTES = 32;
const SHOWN_DIGITS = 6;

const FORM = new RegExp(`^(stm|stf)_([A-Za-z0-9_-]{1,64})_([0-9a-f]{${RANDOM_BYTES * 2}})$`);

export interface NewApiKey {
  /** Shown once, to the admin who made it. */
  readonly key: string;
  readonly hash: string;
  /** The beginning, by which people tell keys apart. */
  readonly prefix: string;
}

/**
 * A new key of 256 random bits, `stm_<workspace>_<hex>`. It names its workspace, so that looking it up stays
 * within that workspace; being long and random, a plain SHA-256 of it is enough to store.
 */
export function newApiKey(kind: ApiKeyKind, workspaceId: string): NewApiKey {
  const random = randomBytes(RANDOM_BYTES).toString('hex');
  const key = `${MARKS[kind]}_${workspaceId}_${random}`;
  return { key, hash: hashSecret(key), prefix: key.slice(0, -random.length + SHOWN_DIGITS) };
}

/** The workspace that a key names and the hash under which it is stored; `null`: no key of ours. */
export function readApiKey(key: string): { workspaceId: string; hash: string } | null {
  const workspaceId = FORM.exec(key)?.[2];
  return workspaceId === undefined ? null : { workspaceId, hash: hashSecret(key) };
}
