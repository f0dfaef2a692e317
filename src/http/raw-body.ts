import type { NextFunction, Request, Response } from 'express';
import { AppError } from '../errors.ts';

/** A request whose raw bytes have been read: signatures are over these, never over a parsed body. */
export interface RawRequest extends Request {
  rawBody: Buffer;
}

/**
 * Reads the raw bytes of a JSON request and parses them into `req.body`.
 *
 * The stream is read to its end even when it is too large, so that the sender gets the answer instead of a
 * broken connection.
 *
 * @param limitBytes largest body; more is a 413
 */
export function rawJson(limitBytes: number, options: { parse: boolean } = { parse: true }) {
  return (req: Request, _res: Response, next: NextFunction): void => {
    const type = req.headers['content-type'] ?? '';
    if (!/^application\/(?:[\w.+-]+\+)?json\b/i.test(type)) {
      req.resume();
      next(
        new AppError('unsupported_media_type', 'Send JSON (Content-Type: application/json)', { status: 415 }),
      );
      return;
    }
    // Signatures are over the bytes that were sent: what they would mean unpacked is nobody's word.
    if (!/^(?:identity)?$/i.test((req.headers['content-encoding'] ?? '').trim())) {
      req.resume();
      next(
        new AppError('unsupported_media_type', 'Send the body as it is, without a Content-Encoding', {
          status: 415,
        }),
      );
      return;
    }
    const chunks: Buffer[] = [];
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= limitBytes) chunks.push(chunk);
      else chunks.length = 0;
    });
    req.on('error', next);
    req.on('end', () => {
      if (size > limitBytes) {
        next(
          new AppError('payload_too_large', `The body is larger than ${limitBytes} bytes`, { status: 413 }),
        );
        return;
      }
      const rawBody = Buffer.concat(chunks);
      (req as RawRequest).rawBody = rawBody;
      if (!options.parse) {
        next();
        return;
      }
      try {
        req.body = parseStorable(rawBody.toString('utf8'));
        next();
      } catch {
        // Not told before the signature is checked: a stranger learns nothing from the body's shape.
        req.body = undefined;
        next();
      }
    });
  };
}

/**
 * PostgreSQL's text cannot hold NUL, which JSON can escape and anybody can write into a name. It is replaced
 * rather than taken out: what is an id must not become the id of somebody else.
 */
function parseStorable(text: string): unknown {
  if (!text.includes('\\u0000')) return JSON.parse(text);
  return JSON.parse(text, (_key, value: unknown) =>
    typeof value === 'string' ? value.replaceAll('\0', '\ufffd') : value,
  );
}
