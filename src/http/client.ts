import axios, {
  Axios,
  type AxiosAdapter,
  AxiosError,
  AxiosHeaders,
  type AxiosResponse,
  type InternalAxiosRequestConfig,
} from 'axios';
import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici';
import type { z } from 'zod';
import { AppError, codeOf } from '../errors.ts';
import { parseJson } from './body.ts';

declare module 'axios' {
  interface AxiosRequestConfig {
    /** What the call does, for error messages: "Sending an event". Never a customer's data. */
    action?: string;
  }
}

/** The largest response that is read is a conversation with its last 500 parts. */
const MAX_RESPONSE_BYTES = 10 * 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 10_000;

/** Keep-alive connections, twice what one workspace's deliveries use. */
const CONNECTIONS = {
  connections: 512,
  maxResponseSize: MAX_RESPONSE_BYTES,
  // Over HTTP/2 all calls share one connection. When it went silent, calls failed for two minutes, until a ping failed.
  allowH2: false,
  // With several IP addresses Node gives each 250 ms, which connecting to another continent may take.
  autoSelectFamily: true,
  autoSelectFamilyAttemptTimeout: 1_500,
};
const isProxied = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'].some(
  (name) => process.env[name],
);
/** Created at the first call: by then a wrong proxy URL has been reported with the other configuration errors. */
let dispatcher: Dispatcher | undefined;

type Headers = Readonly<Record<string, string>>;
type RawResponse = Pick<AxiosResponse<string>, 'status' | 'headers' | 'data'>;

/**
 * Follows no redirect. The timeout covers the whole call, from resolving the name to the last byte. undici's own
 * `request` would read the body through a stream and watch an AbortSignal, which costs as much as the call.
 */
function send(request: Dispatcher.DispatchOptions, timeoutMs: number): Promise<RawResponse> {
  dispatcher ??= isProxied ? new EnvHttpProxyAgent(CONNECTIONS) : new Agent(CONNECTIONS);
  const agent = dispatcher;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const response = { status: 0, headers: new AxiosHeaders() };
    let controller: Dispatcher.DispatchController | null = null;
    let expired: Error | null = null;
    const timer = setTimeout(() => {
      expired = Object.assign(new Error('The call took too long'), { code: 'ETIMEDOUT' });
      controller?.abort(expired);
      reject(expired);
    }, timeoutMs);
    agent.dispatch(request, {
      onRequestStart(started) {
        controller = started;
        // The call was waiting for a connection until now, so nothing was sent.
        if (expired) started.abort(expired);
      },
      onResponseStart(_controller, status, headers) {
        response.status = status;
        // undici's header names are already in lower case. axios would parse each one again.
        Object.assign(response.headers, headers);
      },
      onResponseData: (_controller, chunk) => void chunks.push(chunk),
      onResponseEnd() {
        clearTimeout(timer);
        resolve({ ...response, data: Buffer.concat(chunks).toString() });
      },
      onResponseError(_controller, error) {
        clearTimeout(timer);
        reject(error);
      },
    });
  });
}

/** The content type that axios sets for a body without one. */
const FORM = 'application/x-www-form-urlencoded';

function headersOf({ headers, data }: InternalAxiosRequestConfig, fixed: Headers): Record<string, string> {
  const all: Record<string, string> = { ...fixed };
  if (data !== undefined) all['content-type'] = 'application/json';
  for (const [name, value] of Object.entries(headers))
    if (value !== FORM) all[name.toLowerCase()] = String(value);
  return all;
}

/** @throws AxiosError without a response: a reset, a timeout, a name that does not resolve; `code` says which */
function createAdapter(fixed: Headers): AxiosAdapter {
  return async (config) => {
    try {
      const { origin, pathname, search } = new URL(`${config.baseURL ?? ''}${config.url ?? ''}`);
      const request = {
        origin,
        path: pathname + search,
        method: (config.method ?? 'get').toUpperCase() as 'GET',
        headers: headersOf(config, fixed),
        body: config.data ?? null,
      };
      const response = await send(request, config.timeout || DEFAULT_TIMEOUT_MS);
      return { ...response, statusText: '', config };
    } catch (error) {
      const reason = error instanceof Error ? error : new Error(String(error));
      throw AxiosError.from(reason, codeOf(reason) ?? reason.name, config);
    }
  };
}

/**
 * An axios instance for one platform or purpose. Any status is a response; interceptors decide what it means.
 *
 * Calls take half of a delivery's processor time. So axios is used without its library defaults, and headers that never
 * change are not merged for each call. Figures: docs/performance.md, "Delivering" (bench/http-adapters.ts).
 *
 * @param options.headers sent with every call, names in lower case
 */
export function createHttpClient({
  headers,
  ...defaults
}: {
  baseURL?: string;
  timeout?: number;
  headers?: Headers;
} = {}): Axios {
  return new Axios({
    adapter: createAdapter({
      'user-agent': 'subscription-timeline',
      accept: 'application/json',
      'accept-encoding': 'identity',
      ...headers,
    }),
    transformRequest: [
      (data: unknown) => (data === undefined || Buffer.isBuffer(data) ? data : JSON.stringify(data)),
    ],
    transformResponse: [parseJsonOrText],
    ...defaults,
  });
}

/** Parses JSON, and returns any other text unchanged, such as a proxy's error page. */
function parseJsonOrText(text: string): unknown {
  const json = parseJson(text);
  return json === undefined ? text : json;
}

/** Ignores the content type: Intercom's empty responses may have that of a page (UNVERIFIED). */
function isPage(body: unknown): boolean {
  return typeof body === 'string' && /^\s*</.test(body);
}

/** Whether a proxy refused the call with its own page. Unless it is 429, the status says nothing about the platform. */
export function isProxyRefusal({ status, body }: FailedResponse): boolean {
  return isPage(body) && status !== 429;
}

/** Whether the platform itself accepted the call. */
export function isAccepted({ status, data }: AxiosResponse): boolean {
  return status >= 200 && status < 300 && !isPage(data);
}

/** A header that counts calls; `null`: absent or not a count. A proxy may send anything, PostgreSQL stores integers. */
export function readCount(header: unknown): number | null {
  return /^\d{1,9}$/.test(String(header)) ? Number(header) : null;
}

/** `Retry-After` as ms from now: seconds or an HTTP date (RFC 9110, 10.2.3); `NaN`: absent, or neither. */
export function readRetryAfter(header: unknown, nowMs: number): number {
  const seconds = Number(header);
  return Number.isNaN(seconds) ? Date.parse(String(header)) - nowMs : seconds * 1_000;
}

export type Platform = 'Intercom' | 'RevenueCat';

/** A response that is not a success. Header names are in lower case. */
export interface FailedResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
}

function unavailable(platform: Platform, message: string): AppError {
  const code = platform === 'Intercom' ? 'intercom_unavailable' : 'revenuecat_unavailable';
  return new AppError(code, message, { remedy: { kind: 'retry' } });
}

/** The error of a call without a response: a reset, a timeout, an unknown host. Keeps errors of interceptors. */
export function noResponseError(platform: Platform, error: unknown): unknown {
  if (!axios.isAxiosError(error)) return error;
  const code = error.code ? ` (${error.code})` : '';
  return unavailable(platform, `${error.config?.action ?? ''}: no answer from ${platform}${code}`);
}

/** @throws AppError when a response has an unexpected shape */
export function parseResponse<T>(
  platform: Platform,
  schema: z.ZodType<T>,
  response: Pick<AxiosResponse, 'data' | 'config'>,
): T {
  const parsed = schema.safeParse(response.data);
  if (parsed.success) return parsed.data;
  const { action = '' } = response.config;
  throw unavailable(platform, `${action}: ${platform}'s response has an unexpected shape`);
}

/** Skips items of an unexpected shape: one odd purchase or teammate must not hide the others. */
export function wellFormed<T>(schema: z.ZodType<T>, items: readonly unknown[]): T[] {
  return items.flatMap((item) => {
    const parsed = schema.safeParse(item);
    return parsed.success ? [parsed.data] : [];
  });
}
