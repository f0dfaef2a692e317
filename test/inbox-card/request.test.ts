import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCardRequest } from '../../src/inbox-card/request.ts';

test('the language of the contact, the conversation or the context is not the teammate’s', () => {
  const request = readCardRequest({
    workspace_id: 'w',
    admin: { id: 1, name: 'Ada' },
    contact: { id: 'c', language_override: 'fr', browser_language: 'fr' },
    conversation: { id: '1', language: 'es' },
    context: { locale: 'de' },
  });
  assert.equal(request?.adminLocale, null);
  const named = readCardRequest({ workspace_id: 'w', admin: { id: 1, locale: 'de-AT' } });
  assert.equal(named?.adminLocale, 'de-AT');
});

test('a lead is known by its role, or by the type of the legacy customer', () => {
  const isLead = (body: object) => readCardRequest({ workspace_id: 'w', ...body })?.contact.isLead;
  const customer = { id: 'c', type: 'lead', user_id: 'b7c1' };
  assert.equal(isLead({ customer }), true);
  assert.equal(isLead({ contact: { id: 'c', type: 'contact' }, customer }), true);
  assert.equal(isLead({ contact: { id: 'c', role: 'user' }, customer }), false);
  assert.equal(isLead({ customer: { ...customer, type: 'user' } }), false);
});
