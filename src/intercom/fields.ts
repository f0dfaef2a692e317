import { z } from 'zod';

/** Fields of Intercom's requests and responses, read leniently: samples have numbers where texts are documented. */
export const idField = z.union([z.string(), z.number()]).transform(String);

/** `null`: absent, or of another type. */
export const optionalId = idField
  .nullish()
  .transform((value) => value ?? null)
  .catch(null);

/** `null`: absent, empty, or of another type. */
export const optionalText = z
  .string()
  .nullish()
  .transform((value) => value || null)
  .catch(null);
