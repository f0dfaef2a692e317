import { AppError } from '../errors.ts';
import { CONTACT_ATTRIBUTES } from '../subscribers/attributes.ts';
import type { IntercomClient } from './client.ts';

export interface Provisioning {
  /** Names that can be written now. */
  readonly available: string[];
  readonly created: string[];
  /** Attributes that could not be made, with Intercom's reason: they are left out when contacts are written. */
  readonly failed: { name: string; reason: string }[];
}

/**
 * Makes the contact attributes that are missing in a workspace: lists, then creates. Safe to repeat.
 *
 * A name can be refused because company data has it, or because the workspace is at its 250: the others are
 * made all the same. Source: Intercom API 2.16, "Data attributes".
 *
 * @throws AppError when Intercom cannot be asked at all
 */
export async function provisionAttributes(client: IntercomClient): Promise<Provisioning> {
  const existing = new Map((await client.listDataAttributes()).map((found) => [found.name, found]));
  const available: string[] = [];
  const created: string[] = [];
  const failed: Provisioning['failed'] = [];
  for (const attribute of CONTACT_ATTRIBUTES) {
    const found = existing.get(attribute.name);
    try {
      if (!found) await client.createDataAttribute(attribute);
      else if (found.archived && found.id != null) await client.unarchiveDataAttribute(found.id);
      if (!found || found.archived) created.push(attribute.name);
      available.push(attribute.name);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'intercom_rejected') throw error;
      failed.push({ name: attribute.name, reason: error.message });
    }
  }
  return { available, created, failed };
}
