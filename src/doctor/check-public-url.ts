import { type AxiosResponse, isAxiosError } from 'axios';
import type { Config } from '../config.ts';
import { type Finding, ok, warning } from './check-result.ts';

type Answer = Pick<AxiosResponse, 'status' | 'data'>;

/** Requests an address. @throws AxiosError without a response */
export type Ask = (url: string) => Promise<Answer>;

/**
 * Whether the public address can be one, and leads to this app. The latter is only a warning: behind some routers
 * a server does not reach its own public address.
 */
export async function checkPublicUrl(
  config: Pick<Config, 'publicUrl' | 'production'>,
  ask: Ask,
): Promise<Finding[]> {
  const { publicUrl } = config;
  const { hostname, protocol } = new URL(publicUrl);
  if (['localhost', '127.0.0.1', '[::1]'].includes(hostname)) {
    return [
      warning(
        'public_url',
        `PUBLIC_URL is ${publicUrl}: Intercom and RevenueCat cannot reach it.`,
        'Set PUBLIC_URL to the HTTPS address under which this server is reached from the internet.',
      ),
    ];
  }
  const findings: Finding[] = [];
  if (!config.production) {
    findings.push(
      warning(
        'production',
        'NODE_ENV is not "production": cookies are sent without HTTPS too, and settings are checked less strictly.',
        'Set NODE_ENV=production.',
      ),
    );
  }
  if (protocol !== 'https:') {
    findings.push(
      warning(
        'public_url',
        `PUBLIC_URL is ${publicUrl}: Intercom calls HTTPS addresses alone.`,
        'Put a proxy with a certificate in front (ops/Caddyfile, ops/nginx.conf), and write PUBLIC_URL with https://.',
      ),
    );
    return findings;
  }
  const fault = await faultOf(publicUrl, ask);
  findings.push(
    fault === null
      ? ok('public_url', `The public address, ${publicUrl}, leads to this app.`)
      : warning(
          'public_url',
          `The public address, ${publicUrl}, does not lead to this app, as seen from here: ${fault.said}.`,
          `${fault.remedy} To try, from another machine: curl ${publicUrl}/healthz answers {"status":"ok"}.`,
        ),
  );
  return findings;
}

async function faultOf(publicUrl: string, ask: Ask): Promise<{ said: string; remedy: string } | null> {
  let answer: Answer;
  try {
    answer = await ask(`${publicUrl}/healthz`);
  } catch (error) {
    if (!isAxiosError(error)) throw error;
    const { code = 'UNKNOWN' } = error;
    return { said: `no answer (${code})`, remedy: remedyFor(code) };
  }
  if (answer.status === 200 && (answer.data as { status?: unknown } | null)?.status === 'ok') return null;
  const bad = [502, 503, 504].includes(answer.status);
  return {
    said: `it answers ${answer.status}${bad ? '' : ', and not as this app does'}`,
    remedy: bad
      ? 'The proxy does not reach the app: see that the app runs, and that the proxy passes on to its PORT.'
      : 'Correct PUBLIC_URL, or what the proxy or DNS does with this host.',
  };
}

function remedyFor(code: string): string {
  if (/^(ENOTFOUND|EAI_AGAIN)$/.test(code)) return 'Make a DNS record of this host, or correct PUBLIC_URL.';
  if (/CERT|TLS|SSL|LEAF_SIGNATURE/.test(code))
    return 'The certificate is not valid for this host: renew it (certbot renew), with its whole chain.';
  return 'Start the proxy in front of the app, and open port 443 in the firewall.';
}
