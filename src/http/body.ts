import type { Request, RequestHandler, Response } from 'express';
import { AppError, badRequest } from '../errors.ts';

/** A request whose raw bytes have been read: signatures are over these, never over a parsed body. */
export interface RawRequest extends Request {
  rawBody: Buffer;
}

/** Bodies of all requests together may take this much memory; more are refused with 503. */
const MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024;
/** Bodies up to this size are read even then: webhooks and cards are smaller, and large ones must not hold them up. */
const SMALL_BODY_BYTES = 64 * 1024;

let inFlightBytes = 0;

/**
 * Reads the raw bytes of a JSON request into `req.rawBody`.
 *
 * Not `express.raw`, which cannot limit what all bodies take together. A body that is refused is drained, so that
 * the sender gets the response instead of a broken connection.
 *
 * @param maxBytes more is a 413
 */
export function rawBody(maxBytes: number): RequestHandler {
  return async (req, res, next) => {
    requireJson(req);
    (req as RawRequest).rawBody = await readBody(req, res, maxBytes);
    next();
  };
}

/** {@link rawBody}, and parses it into `req.body`; `undefined`: it is not JSON. For routes without a signature. */
export function jsonBody(maxBytes: number): RequestHandler {
  return async (req, res, next) => {
    requireJson(req);
    const bytes = await readBody(req, res, maxBytes);
    (req as RawRequest).rawBody = bytes;
    req.body = parseJson(bytes);
    next();
  };
}

/** @throws AppError 415 */
export function requireJson(req: Request): void {
  const type = req.headers['content-type'] ?? '';
  if (!/^application\/(?:[\w.+-]{1,100}\+)?json\b/i.test(type)) {
    throw new AppError('unsupported_media_type', 'Send JSON (Content-Type: application/json)', {
      status: 415,
    });
  }
  // A signature is over the bytes that were sent, not over what they decompress to.
  if (!/^(?:identity)?$/i.test((req.headers['content-encoding'] ?? '').trim())) {
    throw new AppError('unsupported_media_type', 'Send the body without a Content-Encoding', { status: 415 });
  }
}

/** @throws AppError 413, 503, or 400 when the sender aborted */
export async function readBody(req: Request, res: Response, maxBytes: number): Promise<Buffer> {
  const declared = Number(req.headers['content-length'] ?? 0);
  if (declared > maxBytes) throw tooLarge(maxBytes);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let size = 0;
  let isRead = false;
  const refuse = (error: AppError): void => {
    chunks.length = 0;
    req.off('data', take);
    req.resume();
    reject(error);
  };
  function take(chunk: Buffer): void {
    size += chunk.length;
    inFlightBytes += chunk.length;
    if (size > maxBytes) refuse(tooLarge(maxBytes));
    else if (inFlightBytes > MAX_IN_FLIGHT_BYTES && size > SMALL_BODY_BYTES) refuse(tooBusy());
    else chunks.push(chunk);
  }
  // Parsed or not, a body is in memory until its response is sent.
  res.once('close', () => {
    inFlightBytes -= size;
    // An error takes its stack: 8 µs for each request that was read long ago.
    if (!isRead) reject(badRequest('The request was aborted'));
  });
  req.on('data', take);
  req.on('error', () => reject(badRequest('The request was aborted')));
  req.on('end', () => {
    isRead = true;
    resolve(Buffer.concat(chunks));
  });
  return promise;
}

/**
 * PostgreSQL's text cannot hold NUL, which JSON can escape and anyone can write into a name. It is replaced rather
 * than removed: an id must not become the id of another customer. On the text, since a reviver visits every value
 * (720 ms for 1 MiB).
 *
 * @returns `undefined`: it is not JSON
 */
export function parseJson(bytes: Buffer): unknown {
  const text = bytes.toString('utf8');
  try {
    return JSON.parse(
      text.includes('\\u0000')
        ? text.replace(/\\\\|\\u0000/g, (found) => (found === '\\\\' ? found : '\ufffd'))
        : text,
    );
  } catch {
    return undefined;
  }
}

function tooLarge(maxBytes: number): AppError {
  return new AppError('payload_too_large', `The body is larger than ${maxBytes} bytes`, { status: 413 });
}

function tooBusy(): AppError {
  return new AppError('overloaded', 'Too many large requests at the same time. Try again.', { status: 503 });
}
