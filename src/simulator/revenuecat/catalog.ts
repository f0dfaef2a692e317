import { Router } from 'express';
import { z } from 'zod';
import {
  type Context,
  listPage,
  missing,
  readBody,
  requireProject,
  requireScope,
  type Session,
} from './http.ts';
import { newId, type Project, type Webhook } from './state.ts';
import { entitlementView, productView } from './views.ts';

const EVENT_TYPES = [
  'initial_purchase',
  'renewal',
  'product_change',
  'cancellation',
  'billing_issue',
  'non_renewing_purchase',
  'uncancellation',
  'transfer',
  'subscription_paused',
  'expiration',
  'subscription_extended',
  'invoice_issuance',
  'temporary_entitlement_grant',
  'refund_reversed',
  'virtual_currency_transaction',
] as const;

const webhookSchema = z.strictObject({
  name: z.string().min(1).max(1500),
  // RevenueCat requires HTTPS; an app on loopback has none.
  url: z
    .url()
    .max(5000)
    .regex(/^(https:|http:\/\/(localhost|127\.0\.0\.1)[:/])/, 'url must be an HTTPS address'),
  authorization_header: z.string().max(5000).nullish(),
  environment: z.enum(['production', 'sandbox']).nullish(),
  event_types: z.array(z.enum(EVENT_TYPES)).nullish(),
  app_id: z.string().min(1).max(255).nullish(),
});

/** Source: RevenueCat API v2, "Project configuration". */
export function catalogRoutes(context: Context): Router {
  const { state, now } = context;
  const router = Router();
  const project = '/v2/projects/:projectId';
  const webhooks = `${project}/integrations/webhooks`;
  const reads = 'project_configuration:integrations:read';
  const writes = 'project_configuration:integrations:read_write';

  router.get('/v2/projects', (req, res) => {
    const session = res.locals.session as Session;
    requireScope(session, 'project_configuration:projects:read');
    const projects = [...state.projects.values()].filter(({ id }) => id === session.projectId);
    const view = ({ id, name, createdAtMs }: Project) => ({
      object: 'project',
      id,
      name,
      created_at: createdAtMs,
      icon_url: null,
      icon_url_large: null,
    });
    res.json(listPage(req, projects, view));
  });

  router.get(`${project}/entitlements`, (req, res) => {
    const project = requireProject(context, req, res, 'project_configuration:entitlements:read');
    res.json(listPage(req, project.entitlements, (each) => entitlementView(project, each)));
  });

  router.get(`${project}/products`, (req, res) => {
    const project = requireProject(context, req, res, 'project_configuration:products:read');
    res.json(listPage(req, project.products, productView));
  });

  router.get(webhooks, (req, res) => {
    const project = requireProject(context, req, res, reads);
    res.json(listPage(req, project.webhooks, (each) => webhookView(project.id, each)));
  });

  router.post(webhooks, (req, res) => {
    const project = requireProject(context, req, res, writes);
    const body = readBody(webhookSchema, req.body);
    const webhook: Webhook = {
      id: newId('whintgr'),
      name: body.name,
      url: body.url,
      authorizationHeader: body.authorization_header ?? null,
      environment: body.environment ?? null,
      eventTypes: body.event_types ?? null,
      appId: body.app_id ?? null,
      createdAtMs: now(),
      signingSecret: null,
      lastDelivery: null,
    };
    project.webhooks.push(webhook);
    res.status(201).json(webhookView(project.id, webhook));
  });

  router.get(`${webhooks}/:webhookId`, (req, res) => {
    const project = requireProject(context, req, res, reads);
    const webhook = project.webhooks.find(({ id }) => id === req.params.webhookId);
    if (!webhook) throw missing();
    res.json(webhookView(project.id, webhook));
  });

  router.delete(`${webhooks}/:webhookId`, (req, res) => {
    const project = requireProject(context, req, res, writes);
    const at = project.webhooks.findIndex(({ id }) => id === req.params.webhookId);
    if (at < 0) throw missing();
    project.webhooks.splice(at, 1);
    res.json({ object: 'webhook_integration', id: req.params.webhookId, deleted_at: now() });
  });

  return router;
}

/** The authorization header is write-only. */
function webhookView(projectId: string, webhook: Webhook): Record<string, unknown> {
  return {
    object: 'webhook_integration',
    id: webhook.id,
    project_id: projectId,
    name: webhook.name,
    url: webhook.url,
    environment: webhook.environment,
    event_types: webhook.eventTypes,
    app_id: webhook.appId,
    created_at: webhook.createdAtMs,
  };
}
