import { Router } from 'express';
import { z } from 'zod';
import { type Context, invalid, notFound, readBody, refusal, requireScope, sessionOf } from './refusals.ts';
import { type Admin, addPart, type Conversation, type IntercomState, seconds } from './state.ts';

/** Only notes of teammates are simulated. */
const noteSchema = z.strictObject({
  message_type: z.literal('note'),
  type: z.literal('admin'),
  admin_id: z.string().optional(),
  body: z.string().optional(),
  skip_notifications: z.boolean().optional(),
});

const healthSchema = z
  .strictObject({
    state: z.enum(['OK', 'UNHEALTHY', 'UNKNOWN']),
    message: z.string().max(2084).optional(),
    cta_type: z.enum(['URL_CTA', 'REINSTALL_CTA']).optional(),
    cta_label: z.string().max(2084).optional(),
    cta_url: z.url().max(2084).optional(),
  })
  .superRefine((health, check) => {
    if (health.state === 'UNHEALTHY' && !health.message) {
      check.addIssue({ code: 'custom', path: ['message'], message: 'required when the state is UNHEALTHY' });
    }
    for (const field of ['cta_label', 'cta_url'] as const) {
      if ((health[field] !== undefined) !== (health.cta_type === 'URL_CTA')) {
        check.addIssue({ code: 'custom', path: [field], message: 'belongs to URL_CTA, which requires it' });
      }
    }
  });

/** The problems of an app's health response; empty: none. Source: Intercom, "Installation health check". */
function healthProblems(body: unknown): string[] {
  const parsed = healthSchema.safeParse(body);
  if (parsed.success) return [];
  return parsed.error.issues.map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`);
}

/** Conversations, teammates, the own workspace and the app's health. Source: Intercom API 2.16. */
export function conversationRoutes(context: Context): Router {
  const { state, now } = context;
  const router = Router();

  router.get('/me', (_req, res) => {
    const { admin, workspace } = sessionOf(res);
    res.json({
      type: 'admin',
      id: admin.id,
      name: admin.name,
      email: admin.email,
      avatar: { type: 'avatar', image_url: AVATAR_URL },
      has_inbox_seat: !admin.isBot,
      email_verified: admin.emailVerified,
      app: {
        type: 'app',
        id_code: workspace.id,
        name: workspace.name,
        created_at: workspace.createdAtS,
        secure: workspace.identityVerification,
        identity_verification: workspace.identityVerification,
        timezone: workspace.timezone,
        region: workspace.region,
      },
    });
  });

  router.get('/admins', (_req, res) => {
    const { workspace } = requireScope(res, 'read_admins');
    const admins = [...state.admins.values()].filter((admin) => admin.workspaceId === workspace.id);
    res.json({ type: 'admin.list', admins: admins.map(listedAdmin) });
  });

  router.get('/conversations/:id', (req, res) => {
    const { workspace } = requireScope(res, 'read_conversations');
    res.json(conversationView(state, find(state, workspace.id, req.params.id)));
  });

  router.post('/conversations/:id/reply', (req, res) => {
    const { workspace } = requireScope(res, 'write_conversations');
    const conversation = find(state, workspace.id, req.params.id);
    const body = readBody(noteSchema, req.body);
    if (body.admin_id === undefined)
      throw refusal(400, 'parameter_missing', 'admin_id is required', { field: 'admin_id' });
    if (!body.body) throw refusal(400, 'parameter_missing', 'body is required', { field: 'body' });
    const admin = state.admins.get(body.admin_id);
    if (admin?.workspaceId !== workspace.id)
      throw refusal(404, 'admin_not_found', 'Admin for admin_id not found');
    addPart(conversation, {
      partType: body.message_type,
      authorType: 'admin',
      authorId: admin.id,
      body: body.body,
      createdAtS: seconds(now()),
    });
    conversation.updatedAtS = seconds(now());
    res.json(conversationView(state, conversation));
  });

  router.post('/app_install/status', (req, res) => {
    const { workspace } = sessionOf(res);
    const [problem] = healthProblems(req.body);
    if (problem) throw invalid(problem);
    workspace.health = req.body as Record<string, unknown>;
    res.json(req.body);
  });

  return router;
}

function find(state: IntercomState, workspaceId: string, id: string): Conversation {
  const conversation = state.conversations.get(id);
  if (conversation?.workspaceId !== workspaceId) throw notFound();
  return conversation;
}

const AVATAR_URL = 'https://static.intercomassets.com/assets/default-avatars/admins/128.png';

function listedAdmin(admin: Admin): Record<string, unknown> {
  const { avatar: _onlyIfAsked, ...listed } = adminView(admin);
  return listed;
}

/** The model of REST and of Canvas Kit's `admin`, without roles and permissions. A bot looks like a teammate. */
export function adminView(admin: Admin): Record<string, unknown> {
  return {
    type: 'admin',
    id: admin.id,
    name: admin.name,
    email: admin.email,
    away_mode_enabled: false,
    away_mode_reassign: false,
    has_inbox_seat: !admin.isBot,
    avatar: { image_url: AVATAR_URL },
    team_ids: [],
  };
}

export function conversationView(state: IntercomState, conversation: Conversation): Record<string, unknown> {
  const author = (type: string, id: string): Record<string, unknown> => {
    const person = type === 'admin' ? state.admins.get(id) : state.contacts.get(id);
    return { type, id, name: person?.name ?? null, email: person?.email ?? null };
  };
  const [first] = conversation.contactIds;
  return {
    type: 'conversation',
    id: conversation.id,
    created_at: conversation.createdAtS,
    updated_at: conversation.updatedAtS,
    waiting_since: null,
    snoozed_until: null,
    open: true,
    state: 'open',
    read: false,
    priority: 'none',
    admin_assignee_id: null,
    team_assignee_id: null,
    title: null,
    source: {
      type: 'conversation',
      id: String(Number(conversation.id) * 1_000),
      delivered_as: 'customer_initiated',
      subject: '',
      body: conversation.body,
      author: first === undefined ? null : author('user', first),
      attachments: [],
      url: null,
      redacted: false,
    },
    contacts: {
      type: 'contact.list',
      contacts: conversation.contactIds.map((id) => ({
        type: 'contact',
        id,
        external_id: state.contacts.get(id)?.externalId ?? null,
      })),
    },
    tags: { type: 'tag.list', tags: [] },
    conversation_parts: {
      type: 'conversation_part.list',
      conversation_parts: conversation.parts.slice(-500).map((part) => ({
        type: 'conversation_part',
        id: part.id,
        part_type: part.partType,
        body: part.body,
        created_at: part.createdAtS,
        updated_at: part.createdAtS,
        author: author(part.authorType, part.authorId),
        attachments: [],
      })),
      total_count: conversation.parts.length,
    },
  };
}
