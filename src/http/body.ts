import type { Request, RequestHandler, Response } from 'express';
import { AppError, badRequest } from '../errors.ts';

/** A request whose raw bytes have been read: signatures are over these, never over a parsed body. */
export interface RawRequest extends Request {
  rawBody: Buffer;
}

/** Bodies of all requests together may take this much memory; more are refused with 503. */
const MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024;
/** Bodies up to this size are read even above that limit: webhooks and cards are smaller, and must not be blocked. */
const SMALL_BODY_BYTES = 64 * 1024;

interface OpenBody {
  readonly startedMs: number;
  size: number;
  refuse(error: AppError): void;
}

/** Bodies that have not arrived completely. */
const openBodies = new Set<OpenBody>();
let inFlightBytes = 0;

/**
 * Reads the raw bytes of a JSON request into `req.rawBody`.
 *
 * Does not use `express.raw`, which cannot limit the memory of all bodies together.
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

/** Parses the body into `req.body`; `undefined`: it is not JSON. For routes without a signature. */
export function jsonBody(maxBytes: number): RequestHandler {
  return async (req, res, next) => {
    requireJson(req);
    req.body = parseJson((await readBody(req, res, maxBytes)).toString());
    next();
  };
}

/** @throws AppError 415 */
export function requireJson(req: Request): void {
  const type = req.headers['content-type'] ?? '';
  if (!/^application\/(?:[\w.+-]{1,100}\+)?json\b/i.test(type))
    throw new AppError('unsupported_media_type', 'Send JSON (Content-Type: application/json)');
  // A signature is over the bytes that were sent, not over what they decompress to.
  if (!/^(?:identity)?$/i.test((req.headers['content-encoding'] ?? '').trim()))
    throw new AppError('unsupported_media_type', 'Send the body without a Content-Encoding');
}

/** @throws AppError 413 or 503, without reading the rest of the body, or 400 when the sender aborted */
export async function readBody(req: Request, res: Response, maxBytes: number): Promise<Buffer> {
  if (Number(req.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  const body: OpenBody = { startedMs: performance.now(), size: 0, refuse };
  openBodies.add(body);
  function refuse(error: AppError): void {
    chunks.length = 0;
    release();
    req.off('data', take);
    req.pause();
    reject(error);
  }
  function release(): void {
    openBodies.delete(body);
    inFlightBytes -= body.size;
    body.size = 0;
  }
  function take(chunk: Buffer): void {
    body.size += chunk.length;
    inFlightBytes += chunk.length;
    chunks.push(chunk);
    if (body.size > maxBytes) refuse(tooLarge(maxBytes));
    else if (inFlightBytes > MAX_IN_FLIGHT_BYTES) refuseMostExpensive();
  }
  // Parsed or not, a body is in memory until its response is sent.
  res.once('close', release);
  req.on('data', take);
  req.on('error', () => reject(badRequest('The request was aborted')));
  req.on('end', () => {
    openBodies.delete(body);
    resolve(Buffer.concat(chunks));
    chunks.length = 0;
  });
  return promise;
}

/**
 * Refuses the large body that has used the most memory for the longest time, which is a slow or a huge one. A card with
 * a long conversation arrives within milliseconds.
 */
function refuseMostExpensive(): void {
  const nowMs = performance.now();
  const cost = ({ size, startedMs }: OpenBody): number => size * (nowMs - startedMs + 1);
  let worst: OpenBody | null = null;
  for (const body of openBodies)
    if (body.size > SMALL_BODY_BYTES && (worst === null || cost(body) > cost(worst))) worst = body;
  worst?.refuse(new AppError('overloaded', 'Too many large requests at the same time. Try again.'));
}

/** Whether the body is, or may be, too large to read just to discard it. */
export function isLarge({ headers }: Request): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length']) > SMALL_BODY_BYTES;
}

/**
 * For routes that accept at most a form. Node would read a larger body to its end, whatever the response is.
 *
 * @param largeForms larger limits in bytes, by path
 */
export function refuseLargeBody(largeForms: Readonly<Record<string, number>>): RequestHandler {
  return (req, _res, next) => {
    const isChunkedRead = /^(?:GET|HEAD)$/.test(req.method) && req.headers['transfer-encoding'] !== undefined;
    const maxBytes = largeForms[req.path] ?? SMALL_BODY_BYTES;
    if (isChunkedRead || Number(req.headers['content-length']) > maxBytes) throw tooLarge(maxBytes);
    next();
  };
}

/** `\u0000`, or half of a surrogate pair. Also matches escaped backslashes and whole pairs, in order to skip them. */
const ESCAPES = /\\\\|\\u0000|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|\\ud[89a-f][0-9a-f]{2}/gi;

/**
 * PostgreSQL's text cannot hold NUL, which JSON can escape and anyone can write into a name. Neither a URL nor
 * PostgreSQL's JSON can hold half of a surrogate pair. Both are replaced, not removed: an ID must not become another
 * customer's ID. They are replaced in the text, because a reviver visits every value (720 ms for 1 MiB).
 *
 * @returns `undefined`: it is not JSON
 */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(
      /\\u(?:0000|d)/i.test(text)
        ? text.replace(ESCAPES, (found) => (found === '\\\\' || found.length === 12 ? found : '\ufffd'))
        : text,
    );
  } catch {
    return undefined;
  }
}

function tooLarge(maxBytes: number): AppError {
  const kib = maxBytes / 1024;
  return new AppError(
    'payload_too_large',
    `More than ${kib < 1024 ? `${kib} KiB` : `${kib / 1024} MiB`} was sent`,
  );
}
