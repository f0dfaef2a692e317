import jwt from 'jsonwebtoken';
import { z } from 'zod';
import { AppError, badRequest } from '../errors.ts';
import { contactAttributes } from '../subscription/contact-values.ts';
import { isBlockedId } from '../subscription/identities.ts';
import { isRecord } from '../text.ts';
import type { CustomerState } from './customer.ts';

/** Intercom's own examples: two hours. */
const VALID_S = 2 * 3_600;
const MAX_LENGTH = 255;

/** Internationalised addresses are common; whether one exists is not checked. */
const emailSchema = z.email({ pattern: z.regexes.unicodeEmail }).max(254).refine(isPlainText);

type MessengerUser = Readonly<ReturnType<typeof readUser>>;

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

/** Reads a body that the customer's backend sent. Throws AppError 400 with a code for each field. */
export function readUser(body: unknown) {
  if (body === undefined) throw new AppError('invalid_json', 'The body is not JSON. Send {"user_id": "…"}.');
  if (!isRecord(body)) throw badRequest('Send a JSON object: {"user_id": "…"}');
  return {
    /** The RevenueCat app user ID, which becomes the contact's `external_id`. */
    userId: readUserId(body.user_id),
    email: readEmail(body.email),
    name: readName(body.name),
  };
}

/** An app user ID exactly as RevenueCat knows it: case-sensitive and never trimmed. Throws AppError 400. */
export function readUserId(value: unknown): string {
  if (value === undefined || value === null || value === '')
    throw new AppError(
      'user_id_missing',
      'Send "user_id": the RevenueCat app user ID of the signed-in customer',
    );
  if (typeof value !== 'string')
    throw new AppError('user_id_invalid', '"user_id" must be a string: the RevenueCat app user ID');
  if (isBlockedId(value))
    throw new AppError(
      'user_id_blocked',
      '"user_id" is one of the IDs that RevenueCat blocks, because broken apps send them for every customer. Send the ID of the signed-in customer.',
    );
  if (!isPlainText(value) || value !== value.trim())
    throw new AppError(
      'user_id_invalid',
      `"user_id" must have 1 to ${MAX_LENGTH} characters, no leading or trailing space and no control characters`,
    );
  return value;
}

function readEmail(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  const { success, data } = emailSchema.safeParse(value);
  if (success) return data;
  throw new AppError('email_invalid', '"email" is not an email address; leave it out when it is unknown');
}

function readName(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'string' && value.trim() !== '' && isPlainText(value)) return value;
  throw new AppError(
    'name_invalid',
    `"name" must be a string of 1 to ${MAX_LENGTH} characters; leave it out when it is unknown`,
  );
}

/** The body's parser has replaced a NUL with U+FFFD, which nothing else contains. */
function isPlainText(text: string): boolean {
  return text.length <= MAX_LENGTH && !/[\p{Cc}\ufffd]/u.test(text) && text.isWellFormed();
}
