import { z } from 'zod';
import { AppError, badRequest, type ErrorCode } from '../errors.ts';
import { isBlockedId } from '../subscription/identities.ts';
import type { MessengerUser } from './identity-token.ts';

const MAX_USER_ID_LENGTH = 255;
const MAX_NAME_LENGTH = 255;
const MAX_EMAIL_LENGTH = 254;

const emailSchema = z.email().max(MAX_EMAIL_LENGTH);

/**
 * Whom the customer's backend asks for. Each thing that can be wrong has its own code and says how to mend it.
 *
 * @param body the parsed JSON
 * @throws AppError 400
 */
export function readUser(body: unknown): MessengerUser {
  const input = asObject(body);
  return {
    userId: readUserId(input.user_id),
    email: readEmail(input.email),
    name: readName(input.name),
  };
}

/**
 * An app user ID as RevenueCat knows it: case counts, and nothing is trimmed.
 *
 * @throws AppError 400
 */
export function readUserId(value: unknown): string {
  if (value === undefined || value === null || value === '') {
    throw refused('user_id_missing', 'Send "user_id": the RevenueCat app user ID of the signed-in customer');
  }
  if (typeof value !== 'string') {
    throw refused('user_id_invalid', '"user_id" must be a string: the RevenueCat app user ID as it is');
  }
  if (isBlockedId(value)) {
    throw refused(
      'user_id_blocked',
      '"user_id" is one of the IDs that RevenueCat blocks, because broken apps send them for everybody. Send the ID of the one customer who is signed in',
    );
  }
  if (value.length > MAX_USER_ID_LENGTH || value !== value.trim() || hasControls(value)) {
    throw refused(
      'user_id_invalid',
      `"user_id" must have 1 to ${MAX_USER_ID_LENGTH} characters, no space at either end and no control characters`,
    );
  }
  return value;
}

function readEmail(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  const parsed = emailSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw refused('email_invalid', '"email" is no email address; leave it out when you know none');
}

function readName(value: unknown): string | null {
  if (value === undefined || value === null) return null;
  const isName = typeof value === 'string' && value.trim() !== '' && value.length <= MAX_NAME_LENGTH;
  if (isName && !hasControls(value)) return value;
  throw refused(
    'name_invalid',
    `"name" must be a string of 1 to ${MAX_NAME_LENGTH} characters; leave it out when you know none`,
  );
}

function asObject(body: unknown): Record<string, unknown> {
  if (body === undefined) throw refused('invalid_json', 'The body is not JSON: send {"user_id": "…"}');
  if (typeof body === 'object' && body !== null && !Array.isArray(body))
    return body as Record<string, unknown>;
  throw badRequest('Send a JSON object: {"user_id": "…"}');
}

function hasControls(text: string): boolean {
  return /\p{Cc}/u.test(text) || !text.isWellFormed();
}

function refused(code: ErrorCode, message: string): AppError {
  return new AppError(code, message, { status: 400 });
}
