import jwt from 'jsonwebtoken';
import { z } from 'zod';
import { AppError, badRequest, type ErrorCode } from '../errors.ts';
import { isBlockedId } from '../subscription/app-user-ids.ts';
import { contactAttributes } from '../subscription/contact-values.ts';
import { isRecord } from '../text.ts';
import type { CustomerState } from './customer.ts';

/** Intercom's own examples: two hours. */
const VALID_S = 2 * 3_600;
const MAX_LENGTH = 255;

type MessengerUser = Readonly<z.infer<typeof userSchema>>;

/**
 * Signs the token with which the Messenger identifies a customer: HS256 with the workspace's Messenger secret;
 * `user_id`, e-mail, name, and the subscription's state as flat custom attributes, which only the signer can then
 * write. Unknown values are left out: a token never clears an attribute. Source: Intercom,
 * "Authenticating users in the Messenger with JSON Web Tokens".
 */
export function signIdentityToken(
  secret: string,
  user: MessengerUser,
  { customer, nowMs }: { customer: Pick<CustomerState, 'state' | 'appUserIds'> | null; nowMs: number },
) {
  const issuedAtS = Math.floor(nowMs / 1_000);
  const expiresAtS = issuedAtS + VALID_S;
  const attributes = customer ? contactAttributes(customer.state, customer.appUserIds) : {};
  const claims = {
    ...Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== null)),
    user_id: user.userId,
    ...(user.email === null ? {} : { email: user.email }),
    ...(user.name === null ? {} : { name: user.name }),
    iat: issuedAtS,
    exp: expiresAtS,
  };
  return { token: jwt.sign(claims, secret, { algorithm: 'HS256' }), expiresAtS };
}

/** What is wrong with a field of a request, by error code. The schemas use the codes as their messages. */
const PROBLEMS = {
  user_id_missing: 'Send "user_id": the RevenueCat app user ID of the signed-in customer',
  user_id_invalid: `"user_id" must be the RevenueCat app user ID: a string of 1 to ${MAX_LENGTH} characters, no leading or trailing space and no control characters`,
  user_id_blocked:
    '"user_id" is a template that was not filled in, or one of the IDs that RevenueCat blocks, because broken apps send them for every customer. Send the ID of the signed-in customer.',
  email_invalid: '"email" is not an email address; leave it out when it is unknown',
  name_invalid: `"name" must be a string of 1 to ${MAX_LENGTH} characters; leave it out when it is unknown`,
  locale_invalid: '"locale" must be a language tag such as "de" or "pt-BR"',
} as const satisfies Partial<Record<ErrorCode, string>>;

/** An app user ID exactly as RevenueCat knows it: case-sensitive and never trimmed. */
export const userIdSchema = z.object({
  user_id: z
    .string({ error: ({ input }) => (input == null ? 'user_id_missing' : 'user_id_invalid') })
    .refine((id) => id !== '', 'user_id_missing')
    .refine((id) => !isBlockedId(id) && !/^\{\{.*\}\}$/.test(id), 'user_id_blocked')
    .refine((id) => isPlainText(id) && id === id.trim(), 'user_id_invalid'),
});

/** `user_id` becomes the contact's `external_id`. */
export const userSchema = userIdSchema
  .extend({
    /** Internationalized addresses are common; whether one exists is not checked. */
    email: z
      .email({ pattern: z.regexes.unicodeEmail, error: 'email_invalid' })
      .refine((email) => email.length <= 254 && isPlainText(email), 'email_invalid')
      .nullish(),
    name: z
      .string('name_invalid')
      .refine((name) => name.trim() !== '' && isPlainText(name), 'name_invalid')
      .nullish(),
  })
  .transform(({ user_id: userId, email = null, name = null }) => ({ userId, email, name }));

/** Phones add preferences, such as `en-US-u-hc-h23` for a 24-hour clock. */
export const localeSchema = z.object({
  locale: z
    .string('locale_invalid')
    .regex(/^[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8}){0,12}$/, 'locale_invalid')
    .nullish(),
});

/** Reads what the customer's backend, or Fin, sent. @throws AppError 400 with a code for each field */
export function readFields<T>(schema: z.ZodType<T>, body: unknown): T {
  if (body === undefined) throw new AppError('invalid_json', 'The body is not JSON. Send {"user_id": "…"}.');
  if (!isRecord(body)) throw badRequest('Send a JSON object: {"user_id": "…"}');
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const code = parsed.error.issues[0]?.message as keyof typeof PROBLEMS;
  throw new AppError(code, PROBLEMS[code]);
}

/** U+FFFD is refused, too: the body parser puts it in place of NUL, and nothing else contains it. */
function isPlainText(text: string): boolean {
  return text.length <= MAX_LENGTH && !/[\p{Cc}\ufffd]/u.test(text) && text.isWellFormed();
}
