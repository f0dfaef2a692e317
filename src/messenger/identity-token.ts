import jwt from 'jsonwebtoken';
import { contactAttributes } from '../subscription/attributes.ts';
import type { OwnState } from './customer.ts';

/** Intercom's own examples: two hours. */
const VALID_S = 2 * 3_600;

/** Whom a token is for. */
export interface MessengerUser {
  /** The RevenueCat app user id, which becomes the contact's `external_id`. */
  readonly userId: string;
  readonly email: string | null;
  readonly name: string | null;
}

export interface IdentityToken {
  readonly token: string;
  /** Unix seconds. */
  readonly expiresAtS: number;
}

/**
 * The token with which the Messenger knows who somebody is: HS256 with the workspace's Messenger secret,
 * `user_id`, e-mail and name, and the subscription's state as flat custom attributes, which nobody but the
 * signer can then write. What is not known is left out: a token never clears an attribute.
 *
 * Source: Intercom, "Authenticating users in the Messenger with JSON Web Tokens".
 *
 * @param nowMs epoch ms
 */
export function mintIdentityToken(
  secret: string,
  user: MessengerUser,
  subscriber: Pick<OwnState, 'state' | 'appUserIds'> | null,
  nowMs: number,
): IdentityToken {
  const issuedAtS = Math.floor(nowMs / 1_000);
  const expiresAtS = issuedAtS + VALID_S;
  const attributes: Record<string, string | number | boolean> = {};
  if (subscriber) {
    for (const [name, value] of Object.entries(contactAttributes(subscriber.state, subscriber.appUserIds))) {
      if (value !== null) attributes[name] = value;
    }
  }
  const claims = {
    ...attributes,
    user_id: user.userId,
    ...(user.email === null ? {} : { email: user.email }),
    ...(user.name === null ? {} : { name: user.name }),
    iat: issuedAtS,
    exp: expiresAtS,
  };
  return { token: jwt.sign(claims, secret, { algorithm: 'HS256' }), expiresAtS };
}
