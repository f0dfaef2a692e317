import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { appUserIdInText } from '../../src/subscription/app-user-id-in-text.ts';
import { isAnonymous, isBlockedId, preferredAppUserIds } from '../../src/subscription/app-user-ids.ts';

const ANONYMOUS = '$RCAnonymousID:8069238d6049ce87cc529853916d624c';

test('ids that broken apps send for every customer identify no one', () => {
  const blocked = ['no_user', 'null', 'none', 'nil', '(null)', 'NaN', '\0', '', 'unidentified', 'undefined'];
  blocked.push('unknown', 'anonymous', 'guest', '-1', '0', '[]', '{}', '[object Object]', ' ', 'NULL');
  for (const id of blocked) assert.ok(isBlockedId(id), JSON.stringify(id));
  for (const id of ['1', 'nullable', 'ada@example.com', ANONYMOUS]) assert.ok(!isBlockedId(id), id);
});

test('the id that the preview mode of the SDK gives everyone identifies no one', () => {
  assert.deepEqual(preferredAppUserIds(['$RC_PREVIEW_MODE_USER', 'ada', ANONYMOUS]), ['ada', ANONYMOUS]);
});

test('ids that would lead to another endpoint in an address identify no one', () => {
  for (const id of ['.', '..']) assert.ok(isBlockedId(id), id);
  for (const id of ['...', '.a', '../a']) assert.ok(!isBlockedId(id), id);
});

test('identified ids come first, in their order and once', () => {
  assert.deepEqual(preferredAppUserIds([ANONYMOUS, 'b', 'null', 'a', 'b']), ['b', 'a', ANONYMOUS]);
  assert.ok(isAnonymous(ANONYMOUS));
  assert.ok(!isAnonymous('ada'));
});

describe('an app user id in a conversation', () => {
  const cases: readonly [string, string | null][] = [
    ['RC User ID: ada-1', 'ada-1'],
    ['user id: ada-1', 'ada-1'],
    ['Customer: ada', 'ada'],
    ['customer_id : ada', 'ada'],
    ['Install-ID:ada', 'ada'],
    ['RCUserID: ada', 'ada'],
    ['Hello,\nit does not work.\n\nUSER ID: Ada\nversion 3', 'Ada'],
    [`<p>Help!</p><p>RC User ID: ${ANONYMOUS}</p>`, ANONYMOUS],
    ['Help!<br>User ID: <b>a&amp;b</b><br/>Bye', 'a&b'],
    ['<div>User&nbsp;ID:&nbsp;ada</div>', 'ada'],
    ['User ID: a&#x40;b.c', 'a@b.c'],
    ['User ID: null\nUser ID: ada', 'ada'],
    ['My user id: ada', null],
    ['User ID: https://example.com', null],
    ['User ID:', null],
    [`User ID: ${'x'.repeat(101)}`, null],
    ['Username: ada', null],
    ['User ID: &#x110000;', '&#x110000;'],
    ['', null],
  ];
  for (const [text, expected] of cases) {
    test(JSON.stringify(text.slice(0, 60)), () => assert.equal(appUserIdInText(text), expected));
  }

  test('hostile text takes no time', () => {
    const before = process.cpuUsage();
    for (const text of ['<', '<p', '&#', 'user id', 'user id:  ', ' ', '<a <', 'user id:\n', 'user- _']) {
      appUserIdInText(text.repeat(200_000));
    }
    const [long, short] = [' '.repeat(280), ' '.repeat(140)];
    for (const line of [
      `user${long}x`,
      `user${short}id${short}`,
      `user${short}:${short}/`,
      `RC${short}user${short}`,
    ]) {
      appUserIdInText(`${line}\n`.repeat(300));
    }
    assert.ok(process.cpuUsage(before).user < 2_000_000);
  });
});
