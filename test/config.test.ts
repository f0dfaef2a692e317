import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Config, readConfig } from '../src/config.ts';

const APP = { INTERCOM_CLIENT_ID: 'id', INTERCOM_CLIENT_SECRET: 'secret' };
const KEY = Buffer.alloc(32, 7).toString('base64');

function problemsOf(environment: Record<string, string>): Record<string, string> {
  const read = readConfig(environment);
  return read.ok ? {} : Object.fromEntries(read.problems.map(({ name, message }) => [name, message]));
}

function configOf(environment: Record<string, string>): Config {
  const read = readConfig({ ...APP, ...environment });
  assert.ok(read.ok, JSON.stringify(read));
  return read.config;
}

describe('settings', () => {
  it('reports all errors together', () => {
    const wrong = {
      NODE_ENV: 'production',
      PORT: 'abc',
      PUBLIC_URL: 'nope',
      DATABASE_URL: 'mysql://host/db',
      DATABASE_READ_URL: ':',
      DATABASE_DIRECT_URL: ':',
      DATABASE_BACKEND: 'oracle',
      INTERCOM_API_URL: 'api.intercom.io',
      INTERCOM_APP_URL: 'https://app.intercom.com/a',
      REVENUECAT_API_URL: ':',
      ENCRYPTION_KEYS: 'short',
      ROLE: 'king',
      LOG_LEVEL: 'loud',
    };
    const problems = problemsOf(wrong);
    const { NODE_ENV: _, ...names } = { ...wrong, ...APP };
    assert.deepEqual(Object.keys(problems).sort(), Object.keys(names).sort());
    assert.equal(problems.ROLE, 'must be one of all, web, worker');
    assert.match(problems.INTERCOM_APP_URL ?? '', /without a path/);
    for (const message of Object.values(problems)) assert.doesNotMatch(message, /Invalid|expected/);
  });

  it('reports a port out of range like one that is not a number', () => {
    assert.equal(problemsOf({ ...APP, PORT: '70000' }).PORT, 'must be a port number from 0 to 65535');
  });

  it('treats blank as absent', () => {
    assert.match(
      problemsOf({ ...APP, INTERCOM_CLIENT_SECRET: '  ' }).INTERCOM_CLIENT_SECRET ?? '',
      /required/,
    );
    const config = configOf({ PORT: ' ', PUBLIC_URL: '', DATABASE_URL: '  ', ROLE: '', LOG_LEVEL: ' ' });
    assert.equal(config.publicUrl, 'http://localhost:3000');
    assert.equal(config.databaseUrl, null);
    assert.equal(config.role, 'all');
  });

  it('trims origins and their final slash', () => {
    const config = configOf({
      NODE_ENV: 'production',
      ENCRYPTION_KEYS: KEY,
      PUBLIC_URL: ' https://App.example.com/ ',
      INTERCOM_API_URL: 'http://127.0.0.1:4000/',
    });
    assert.equal(config.publicUrl, 'https://app.example.com');
    assert.equal(config.intercom.apiUrl, 'http://127.0.0.1:4000');
    assert.equal(config.intercom.appUrl, 'https://app.intercom.com');
    assert.equal(config.revenueCatApiUrl, 'https://api.revenuecat.com');
  });

  it('refuses an address with a path', () => {
    for (const PUBLIC_URL of ['https://a.example/x', 'https://a.example/?x=1', 'https://me:pw@a.example'])
      assert.match(
        problemsOf({ ...APP, PUBLIC_URL }).PUBLIC_URL ?? '',
        /an origin without a path/,
        PUBLIC_URL,
      );
  });

  it('says what is wrong with the address of a database, and shows nothing of it', () => {
    for (const [DATABASE_URL, expected] of [
      ['mysql://u:zqsecret@h/d', /^must start with postgres:/],
      ['postgres://u:zq/secret@h/d', /write .* as %2F/],
      ['postgres://u:zq#secret@h/d', /write .* as %2F/],
      ['postgres://u:zq%secret@h/d', /write .* as %2F/],
      ['postgres://u:zqsecret@h:99999/d', /is not an address/],
    ] as const) {
      const problem = problemsOf({ ...APP, DATABASE_URL }).DATABASE_URL ?? '';
      assert.match(problem, expected, DATABASE_URL);
      assert.doesNotMatch(problem, /zq|secret/);
    }
    for (const DATABASE_URL of [
      'postgresql://u:a%2Fb%25@[::1]:5432/d?sslmode=no-verify',
      'postgres://u@h/d?uselibpqcompat=true&sslmode=require',
      'postgres://u@h/d?application_name=sslmode=require',
      'postgres:///d?host=/var/run/postgresql',
      'postgres://u@%2Fvar%2Frun%2Fpostgresql/d',
    ])
      assert.equal(configOf({ DATABASE_URL }).databaseUrl, DATABASE_URL);
  });

  it('names modes of TLS that verify the certificate as such, so that node-postgres prints no warning', () => {
    for (const mode of ['prefer', 'require', 'verify-ca', 'verify-full']) {
      const { databaseUrl } = configOf({
        DATABASE_URL: `postgres://h/d?sslmode=${mode}&sslrootcert=/ca.pem`,
      });
      assert.equal(databaseUrl, 'postgres://h/d?sslmode=verify-full&sslrootcert=/ca.pem');
    }
  });

  it('refuses keys that would be read as fewer or as others', () => {
    const production = { ...APP, NODE_ENV: 'production', PUBLIC_URL: 'https://app.example.com' };
    for (const ENCRYPTION_KEYS of [`${KEY} ${KEY}`, `${KEY};${KEY}`, `"${KEY}"`, `${KEY}, short`, ','])
      assert.match(problemsOf({ ...production, ENCRYPTION_KEYS }).ENCRYPTION_KEYS ?? '', /32-byte keys/);
    for (const ENCRYPTION_KEYS of [`${KEY}, ${KEY}`, `${KEY},`, KEY.replace('=', '')])
      assert.deepEqual(problemsOf({ ...production, ENCRYPTION_KEYS }), {});
  });

  it('refuses proxies that no subnet can be', () => {
    for (const TRUSTED_PROXIES of ['10.0.0.0/33', '10.0.0.0/0', '::1/129', '10.0.0.0/x', 'all'])
      assert.match(problemsOf({ ...APP, TRUSTED_PROXIES }).TRUSTED_PROXIES ?? '', /subnets/, TRUSTED_PROXIES);
    const { trustedProxies } = configOf({ TRUSTED_PROXIES: 'loopback, 10.0.0.0/32,::1/128' });
    assert.deepEqual(trustedProxies, ['loopback', '10.0.0.0/32', '::1/128']);
  });

  it('refuses a proxy for outgoing calls that no client can use', () => {
    for (const name of ['HTTPS_PROXY', 'HTTP_PROXY', 'https_proxy', 'http_proxy']) {
      for (const proxy of ['10.0.0.1:3128', 'proxy:3128', 'http://', 'ftp://proxy'])
        assert.match(
          problemsOf({ ...APP, [name]: proxy })[name] ?? '',
          /^must be an address with its scheme/,
        );
      for (const proxy of ['', 'http://proxy:3128', 'https://user:password@proxy', 'socks5://[::1]:1080'])
        assert.deepEqual(problemsOf({ ...APP, [name]: proxy }), {}, proxy);
    }
  });

  it('requires DATABASE_URL before its replica and direct addresses', () => {
    const url = 'postgres://host/db';
    assert.match(problemsOf({ ...APP, DATABASE_READ_URL: url }).DATABASE_READ_URL ?? '', /DATABASE_URL/);
    assert.match(problemsOf({ ...APP, DATABASE_DIRECT_URL: url }).DATABASE_DIRECT_URL ?? '', /DATABASE_URL/);
  });
});
