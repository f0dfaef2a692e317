import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { ticks } from '../../src/inbox-card/picture-png.ts';
import { DAY_MS, MINUTE_MS } from '../../src/time.ts';
import { deriveKey } from '../../src/workspaces/secrets.ts';
import { createProduct, type Product } from '../support/product.ts';
import { setSettings, WORKSPACE_ID } from '../support/world.ts';
import { openFor, tell } from './support.ts';

test('its days are those of the list below it: an evening in New York is the next day in UTC', () => {
  const fromMs = Date.UTC(2026, 0, 10, 3);
  const labels = ticks({ fromMs, toMs: fromMs + 60 * DAY_MS }, 'America/New_York').map(({ label }) => label);
  assert.deepEqual(labels, ['2026-01-09', '2026-01-30', '2026-02-20']);
});

describe('the picture of the subscription', () => {
  let product: Product;
  before(async () => {
    product = await createProduct({ environment: { PUBLIC_URL: 'https://app.test' } });
    for (const story of ['grace_period', 'long_history', 'no_purchases'] as const)
      await tell(product, story, { appUserId: `user_${story}` });
  });
  after(() => product?.close());

  const imageOf = async (story: string) => {
    const card = await openFor(product, { externalId: `user_${story}` });
    const timeline = await card.press('timeline');
    const image = timeline.canvas.content?.components.find((each) => each.type === 'image');
    return { timeline, image: image?.type === 'image' ? image : null };
  };
  const addressOf = async (story: string) => {
    const { image } = await imageOf(story);
    assert.match(image?.url ?? '', /^https:\/\/app\.test\/pictures\//);
    return (image?.url ?? '').replace('https://app.test', product.server.url);
  };

  test('the timeline shows it with a legend of what is drawn, and its address answers a PNG of that size to any browser', async () => {
    for (const [story, legend] of [
      ['grace_period', /^🟩\u00a0paid {2}🟨\u00a0grace period {2}●\u00a0payment {2}▲\u00a0failed payment$/m],
      ['long_history', /^🟩\u00a0paid {2}●\u00a0payment {2}▲\u00a0failed payment {2}✕\u00a0cancellation$/m],
    ] as const) {
      const { timeline, image } = await imageOf(story);
      assert.match(timeline.text, legend);
      const response = await fetch(await addressOf(story));
      const png = Buffer.from(await response.arrayBuffer());
      assert.equal(response.status, 200);
      assert.equal(response.headers.get('content-type'), 'image/png');
      assert.match(response.headers.get('cache-control') ?? '', /^private, max-age=\d+, immutable$/);
      assert.equal(response.headers.get('cross-origin-resource-policy'), 'cross-origin');
      assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [image?.width, image?.height]);
      assert.ok(png.length <= 30 * 1024, `${png.length} bytes`);
    }
  });

  test('a filtered timeline and a customer without purchases have none', async () => {
    assert.equal((await imageOf('no_purchases')).image, null);
    const { timeline } = await imageOf('long_history');
    const filtered = await timeline.press('timeline.kind', { 'timeline.kind': 'endings' });
    assert.ok(!filtered.canvas.content?.components.some(({ type }) => type === 'image'));
  });

  test('a changed or expired address, and one of another workspace or customer, is not found', async () => {
    const address = await addressOf('grace_period');
    const other = await addressOf('long_history');
    const [, , workspaceId = '', subscriberId = '', version = '', expires = ''] = new URL(
      address,
    ).pathname.split('/');
    const [, , , otherId = ''] = new URL(other).pathname.split('/');
    assert.equal(workspaceId, WORKSPACE_ID);
    for (const changed of [
      address.replace(workspaceId, 'ws_other'),
      address.replace(subscriberId, otherId),
      address.replace(`/${version}/`, '/999-0/'),
      address.replace(expires, String(Number(expires) + DAY_MS)),
      address.replace('.png', 'A.png'),
      address.replace(/[^/]+\.png$/, '.png'),
    ]) {
      assert.notEqual(changed, address);
      assert.equal((await fetch(changed)).status, 404, changed);
    }
    assert.equal((await fetch(address)).status, 200);
    // Signed with the right key, so that only the expiry differs.
    const key = deriveKey([Buffer.from(product.environment.ENCRYPTION_KEYS ?? '', 'base64')], 'pictures');
    for (const [minutes, status] of [
      [-10, 404],
      [1, 200],
    ] as const) {
      const path: string = `/pictures/${workspaceId}/${subscriberId}/${version}/${Date.now() + minutes * MINUTE_MS}`;
      const signature = createHmac('sha256', key).update(path).digest('base64url');
      assert.equal((await fetch(`${product.server.url}${path}/${signature}.png`)).status, status);
    }
  });

  test('an admin can switch it off, also for addresses that were given out', async () => {
    const address = await addressOf('grace_period');
    await setSettings(product, { card: { picture: false } });
    try {
      assert.equal((await imageOf('grace_period')).image, null);
      assert.equal((await fetch(address)).status, 404);
    } finally {
      await setSettings(product, {});
    }
  });
});
