import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainDatabaseError } from '../../src/database/explain-error.ts';
import { AppError } from '../../src/errors.ts';

test('a read-only server, such as a standby in place of the primary, is named as the cause', () => {
  const error = Object.assign(new Error('cannot execute CREATE TABLE in a read-only transaction'), {
    code: '25006',
  });
  assert.deepEqual(explainDatabaseError(error, 'DATABASE_URL'), {
    message: 'cannot execute CREATE TABLE in a read-only transaction',
    remedy:
      'The server is read-only, such as a standby: set DATABASE_URL to the primary, or see default_transaction_read_only.',
  });
});

test('a certificate file that cannot be read is named as the cause, and not the server', () => {
  const error = Object.assign(new Error("ENOENT: no such file or directory, open '/none.crt'"), {
    code: 'ENOENT',
  });
  const { remedy } = explainDatabaseError(error, 'DATABASE_URL');
  assert.match(remedy ?? '', /^A file that DATABASE_URL names \(sslrootcert/);
  const socket = Object.assign(new Error('connect ENOENT /run/.s.PGSQL.5432'), { code: 'ENOENT' });
  assert.match(explainDatabaseError(socket, 'DATABASE_URL').remedy ?? '', /^See that PostgreSQL runs/);
});

test('a database that is not in UTF-8 is named as the cause', () => {
  const message =
    'character with byte sequence 0xe2 0x80 0xa6 in encoding "UTF8" has no equivalent in encoding "LATIN1"';
  const { remedy } = explainDatabaseError(
    Object.assign(new Error(message), { code: '22P05' }),
    'DATABASE_URL',
  );
  assert.match(remedy ?? '', /^The database is not in UTF-8: .*--encoding=UTF8/);
});

test('a statement that takes too long is not taken for a server that cannot be reached', () => {
  const { remedy } = explainDatabaseError(new Error('Query read timeout'), 'DATABASE_URL');
  assert.match(remedy ?? '', /^It did not answer a statement within 20 seconds: see in pg_stat_activity/);
});

test('a time limit that PostgreSQL has is named, and not a server that cannot be reached', () => {
  for (const [code, limit] of [
    ['57014', 'statement timeout'],
    ['55P03', 'lock timeout'],
    ['25P03', 'idle-in-transaction timeout'],
    ['25P04', 'transaction timeout'],
  ] as const) {
    const error = Object.assign(new Error(`canceling statement due to ${limit}`), { code });
    const { remedy } = explainDatabaseError(error, 'DATABASE_URL');
    assert.match(remedy ?? '', /^A time limit that is set in PostgreSQL ended it: raise statement_timeout/);
  }
});

test('the innermost cause is shown, but not in place of our own message', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' });
  const both = new AggregateError([refused, new Error('another address')], '');
  const wrapped = new Error('the query failed', { cause: both });
  const ours = new AppError('database_unavailable', 'Our message', { cause: wrapped });
  const explained = [both, wrapped, ours].map((error) => explainDatabaseError(error, 'DATABASE_URL'));
  assert.deepEqual(
    explained.map(({ message }) => message),
    [refused.message, refused.message, 'Our message'],
  );
  assert.match(explained[2]?.remedy ?? '', /DATABASE_URL/);
  for (const [error, message] of [
    [Object.assign(new Error(''), { code: 'ECONNRESET' }), 'ECONNRESET'],
    [new Error(''), 'unknown'],
    [null, 'unknown'],
  ] as const)
    assert.equal(explainDatabaseError(error, 'DATABASE_URL').message, message);
  assert.equal(explainDatabaseError(new Error('of another kind'), 'DATABASE_URL').remedy, null);
});
