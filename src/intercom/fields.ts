import { z } from 'zod';

/** Fields of Intercom's requests and responses, read leniently: samples have numbers where texts are documented. */
export const idField = z.union([z.string(), z.number()]).transform(String);

/** `null`: absent, or of another type. */
export const optional = <Schema extends z.ZodType>(schema: Schema) => schema.nullable().catch(null);

export const optionalId = optional(idField);

/** `null`: absent, of another type, or empty. */
export const optionalText = optional(z.string().min(1));
