import { EnvHttpProxyAgent, request } from 'undici';

/** An answer over HTTP, whatever its status. Header names are in lower case. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Parsed when it is JSON, else the text. */
  readonly data: unknown;
}

export interface OutgoingCall {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes are sent as they are, anything else as JSON. */
  readonly body?: unknown;
  /** For all of it, from looking up the name to the last byte of the answer, ms. */
  readonly timeoutMs: number;
}

/** No answer came: a reset, a time-out, a name that does not resolve. `code` tells which. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
  readonly code: string;

  constructor(code: string) {
    super(`No answer (${code})`);
    this.code = code;
  }
}

/** One pool of connections for everything that the app calls; `HTTPS_PROXY` and `NO_PROXY` are respected. */
const dispatcher = new EnvHttpProxyAgent({ connections: 256 });

/**
 * Makes one HTTP call. Follows no redirect and repeats nothing.
 *
 * On undici: with `http.request` under axios, a delivery worker spent two fifths of its time on making requests.
 *
 * @throws NoAnswer
 */
export async function callOut(call: OutgoingCall): Promise<Answer> {
  try {
    const isRaw = Buffer.isBuffer(call.body);
    const answer = await request(call.url, {
      dispatcher,
      method: call.method,
      headers: {
        'user-agent': 'subscription-timeline',
        accept: 'application/json',
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...call.headers,
      },
      body: call.body === undefined ? null : isRaw ? (call.body as Buffer) : JSON.stringify(call.body),
      signal: AbortSignal.timeout(call.timeoutMs),
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, headers: answer.headers, data: parsed(text) };
  } catch (error) {
    throw new NoAnswer(codeOf(error));
  }
}

function parsed(text: string): unknown {
  if (text === '') return '';
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'UNKNOWN';
  if (error.name === 'TimeoutError') return 'ETIMEDOUT';
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : error.name;
}
