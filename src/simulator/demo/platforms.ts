import { randomUUID } from 'node:crypto';
import { type Request, Router } from 'express';
import { z } from 'zod';
import { badRequest, notFound } from '../../errors.ts';
import type { Contact, RecordedEvent } from '../intercom/state.ts';
import type { Customer, Project, RevenueCatEvent } from '../revenuecat/state.ts';
import { ACTIONS, possibleActions, runAction } from './actions.ts';
import { createPageRouter, mountApi, readBody, sendPage } from './pages.ts';
import { type DemoWorld, PROJECT_ID, WORKSPACE_ID } from './world.ts';

/** Names for customers who start a trial on the page. */
const NEWCOMERS = ['Aria Blom', 'Theo Lang', 'Zoe Fink', 'Milo Ray', 'Ivy Stone', 'Leo Brandt', 'Nina Falk'];

const webhookSchema = z.object({
  url: z.url({ protocol: /^https?$/ }),
  authorization: z.string().max(5_000),
});

/** What can happen to a trial, by the choice on the page. */
const TRIAL_ACTIONS: Readonly<Record<string, { readonly action: string; readonly label: string }>> = {
  start: { action: 'trial', label: 'started a free trial' },
  cancel: { action: 'cancel', label: 'cancelled the trial' },
  convert: { action: 'convert', label: 'now pays: the trial converted' },
};

/**
 * Small pages of both platforms: `/intercom` with people, a filter and a Series, `/revenuecat` with keys and webhooks,
 * and Intercom's own pages for an installation.
 */
export function createDemoPlatforms(world: DemoWorld): Router {
  const router = createPageRouter();
  for (const name of ['intercom', 'revenuecat'])
    router.get(`/${name}`, (_request, response) => sendPage(response, `${name}.html`));
  router.use(world.intercom.pages);
  mountApi(router, '/platforms/api/intercom', intercomApi(world));
  mountApi(router, '/platforms/api/revenuecat', revenueCatApi(world));
  return router;
}

function intercomApi({ intercom, revenueCat }: DemoWorld): Router {
  const { state } = intercom;
  const router = Router();
  let newcomers = 0;

  router.get('/people', (_request, response) => {
    const events = Map.groupBy(state.events, ({ contactId }) => contactId);
    const descriptions = state.attributes
      .filter(({ workspaceId }) => workspaceId === WORKSPACE_ID)
      .map(({ name, description }) => [name, description ?? '']);
    const people = [...state.contacts.values()]
      .filter(
        ({ workspaceId, deleted, mergedInto }) =>
          workspaceId === WORKSPACE_ID && !deleted && mergedInto === null,
      )
      .map((contact) => personView(contact, events.get(contact.id) ?? []));
    const timeZone = state.workspaces.get(WORKSPACE_ID)?.timezone;
    response.json({ people, descriptions: Object.fromEntries(descriptions), timeZone });
  });

  router.post('/trials/:name', async (request, response) => {
    const chosen = TRIAL_ACTIONS[request.params.name];
    const project = revenueCat.state.projects.get(PROJECT_ID);
    if (!chosen || !project) throw notFound('No such action');
    const action = ACTIONS.find(({ id }) => id === chosen.action);
    const customer = request.params.name === 'start' ? addNewcomer(project) : findTrial(project);
    const events = customer && action ? runAction(project, customer, action, Date.now()) : [];
    if (!customer || events.length === 0) throw badRequest('There is no running trial. Start one first.');
    for (const event of events) await revenueCat.sendWebhook(project.id, event);
    const name = state.contacts.get(contactIdOf(customer))?.name ?? customer.id;
    response.json({ message: `${name} ${chosen.label}.` });
  });

  const contactIdOf = (customer: Customer): string =>
    state.externalIds.get(`${WORKSPACE_ID}\n${customer.id}`)?.id ?? '';

  function addNewcomer(project: Project): Customer {
    const name = NEWCOMERS[newcomers % NEWCOMERS.length] ?? 'A customer';
    newcomers += 1;
    const externalId = `user_new_${newcomers}_${Date.now().toString(36)}`;
    const email = `${name.toLowerCase().replace(' ', '.')}@example.com`;
    intercom.contacts.create(WORKSPACE_ID, { role: 'user', externalId, name, email });
    return revenueCat.addCustomer(project.id, { id: externalId, attributes: { $email: email } });
  }

  /** The newest running trial of a contact of this workspace. */
  function findTrial(project: Project): Customer | undefined {
    return [...project.customers.values()].findLast(
      (customer) =>
        contactIdOf(customer) !== '' && possibleActions(customer).some(({ id }) => id === 'convert'),
    );
  }

  return router;
}

function personView(contact: Contact, events: readonly RecordedEvent[]): Record<string, unknown> {
  return {
    id: contact.id,
    name: contact.name ?? 'Visitor',
    email: contact.email,
    externalId: contact.externalId,
    role: contact.role,
    attributes: contact.customAttributes,
    events: events.map(({ name, createdAtS, receivedAtMs }) => ({ name, createdAtS, receivedAtMs })),
  };
}

function revenueCatApi({ revenueCat }: DemoWorld): Router {
  const { state } = revenueCat;
  const router = Router();
  const projectOf = (request: Request): Project => {
    const project = state.projects.get(String(request.params.projectId));
    if (!project) throw notFound('No such project');
    return project;
  };

  router.get('/projects', (_request, response) => {
    response.json(
      [...state.projects.values()].map((project) => ({
        id: project.id,
        name: project.name,
        customers: project.customers.size,
        keys: [...state.keys]
          .filter(([, { projectId }]) => projectId === project.id)
          .map(([key, { status }]) => ({ key, status })),
        webhooks: project.webhooks.map(({ id, name, url, authorizationHeader, lastDelivery }) => ({
          id,
          name,
          url,
          hasAuthorization: authorizationHeader !== null,
          lastDelivery,
        })),
      })),
    );
  });

  router.post('/projects/:projectId/webhooks', (request, response) => {
    const { url, authorization } = readBody(webhookSchema, request);
    revenueCat.addWebhook(projectOf(request).id, {
      url,
      ...(authorization === '' ? {} : { authorizationHeader: authorization }),
    });
    response.status(201).json({ message: 'Webhook added. Send a test event to try it.' });
  });

  router.delete('/projects/:projectId/webhooks/:webhookId', (request, response) => {
    const { webhooks } = projectOf(request);
    const at = webhooks.findIndex(({ id }) => id === request.params.webhookId);
    if (at < 0) throw notFound('No such webhook');
    webhooks.splice(at, 1);
    response.json({ message: 'Webhook removed.' });
  });

  router.post('/projects/:projectId/webhooks/:webhookId/test', async (request, response) => {
    const project = projectOf(request);
    const { webhookId } = request.params;
    const [answer] = await revenueCat.sendWebhook(project.id, testEvent(project), { webhookId });
    if (!answer) throw notFound('No such webhook');
    const result =
      answer.status === null ? 'There was no response.' : `The app answered with HTTP ${answer.status}.`;
    response.json({ message: `Test event sent. ${result}` });
  });

  return router;
}

/** Source: RevenueCat, "Webhooks: testing". */
function testEvent(project: Project): RevenueCatEvent {
  const nowMs = Date.now();
  return {
    type: 'TEST',
    id: randomUUID(),
    app_id: project.appId,
    event_timestamp_ms: nowMs,
    product_id: 'test_product',
    period_type: 'NORMAL',
    purchased_at_ms: nowMs,
    expiration_at_ms: nowMs + 7_200_000,
    environment: 'SANDBOX',
    entitlement_id: null,
    entitlement_ids: null,
    presented_offering_id: null,
    transaction_id: null,
    original_transaction_id: null,
    app_user_id: '00000000-0000-0000-0000-000000000000',
    aliases: ['00000000-0000-0000-0000-000000000000'],
    original_app_user_id: '00000000-0000-0000-0000-000000000000',
    currency: null,
    price: null,
    price_in_purchased_currency: null,
    subscriber_attributes: {},
    store: 'APP_STORE',
  };
}
