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
import { insertWebhook, type Project, type Webhook } from './state.ts';
import { entitlementView, productView } from './views.ts';

/** The fields that the app sends; RevenueCat accepts others, too. */
const webhookSchema = z.strictObject({
  name: z.string().min(1).max(1500),
  // RevenueCat requires HTTPS; an app on loopback has none.
  url: z
    .url()
    .max(5000)
    .regex(/^(https:|http:\/\/(localhost|127\.0\.0\.1)[:/])/, 'url must be an HTTPS address'),
  authorization_header: z.string().max(5000),
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
    const { name, url, authorization_header: authorizationHeader } = body;
    const webhook = insertWebhook(project, now(), { name, url, authorizationHeader });
    res.status(201).json(webhookView(project.id, webhook));
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
    event_types: null,
    app_id: null,
    created_at: webhook.createdAtMs,
  };
}
