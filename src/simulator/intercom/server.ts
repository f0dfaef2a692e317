import express, { type RequestHandler } from 'express';
import { createFaults } from '../faults.ts';
import { listenOnLoopback } from '../listen.ts';
import { createAppCaller } from './app-caller.ts';
import { attributeRoutes, insertAttribute } from './attributes.ts';
import { createContactChanges, type NewContact } from './contact-changes.ts';
import { contactRoutes } from './contacts.ts';
import { conversationRoutes } from './conversations.ts';
import { eventRoutes } from './events.ts';
import { insertToken, oauthPages, revokeTokens, tokenRoute } from './oauth.ts';
import { rateLimit } from './rate-limit.ts';
import {
  answerRefusals,
  type Context,
  errorList,
  notFound,
  refusal,
  type Session,
  sessionOf,
} from './refusals.ts';
import {
  type Admin,
  type AttributeType,
  addPart,
  type Conversation,
  createState,
  DEFAULT_SCOPES,
  type IntercomScope,
  type IntercomState,
  insertContact,
  seconds,
  type Workspace,
} from './state.ts';

export type IntercomSimulator = ReturnType<typeof createIntercomSimulator>;

const VERSION_PATTERN = /^(1\.[0-4]|2\.(?:\d|1[0-7]))$/;
/** The app's version in the Developer Hub, which applies to requests without the header. */
const DEFAULT_VERSION = '2.16';
/** 10,000 calls a minute. Source: Intercom, "Rate limiting". */
const DEFAULT_RATE_PER_10_S = 1_667;

/**
 * A simulated Intercom: OAuth, the REST endpoints that an app of this kind uses, and Intercom's own calls to
 * the app. Refuses what Intercom refuses. State is in memory.
 */
export function createIntercomSimulator(options: {
  now?: () => number;
  clientId: string;
  clientSecret: string;
  rateLimitPer10s?: number;
}) {
  const now = options.now ?? Date.now;
  const state = createState();
  const { clientId, clientSecret } = options;
  const limit = options.rateLimitPer10s ?? DEFAULT_RATE_PER_10_S;
  const caller = createAppCaller({ state, now, clientSecret });
  const context: Context = {
    state,
    now,
    clientId,
    clientSecret,
    emit: caller.emit,
    notifyUninstall: (workspaceId) => {
      if (state.uninstallUrl) caller.sendUninstall(workspaceId).catch(() => {});
    },
  };
  const contacts = createContactChanges(context);
  const { faults, middleware, control } = createFaults(
    {
      token: (kind) =>
        errorList(kind === 'expired' ? 'token_expired' : 'token_revoked', `The token is ${kind}`),
      status(status, res) {
        if (status === 429) {
          const resetS = (Math.floor(now() / 10_000) + 1) * 10;
          res.set({
            'X-RateLimit-Limit': String(limit),
            'X-RateLimit-Remaining': '0',
            'X-RateLimit-Reset': String(resetS),
          });
        }
        return errorList(
          FAULT_CODES[status] ?? (status >= 500 ? 'server_error' : 'client_error'),
          `Simulated ${status}`,
        );
      },
    },
    now,
  );

  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use(middleware, control);
  const pages = oauthPages(context);
  app.use(pages, tokenRoute(context));
  app.use(checkRequest, express.json({ limit: '1mb' }), authenticate(state), rateLimit(limit, now));
  app.post('/auth/uninstall', (_req, res) => {
    const { workspace } = sessionOf(res);
    revokeTokens(state, workspace.id);
    context.notifyUninstall(workspace.id);
    res.json({});
  });
  app.use(
    contactRoutes(context, contacts),
    attributeRoutes(context),
    eventRoutes(context),
    conversationRoutes(context),
  );
  app.use(() => {
    throw notFound('The requested resource was not found');
  });
  app.use(answerRefusals);

  let nextId = 1_000_000;
  const newId = (): string => String(nextId++);
  return {
    ...caller,
    /** For mounting in another app, instead of calling `listen`. */
    app,
    /** Intercom's pages in the browser; part of `app`, for another origin as well. */
    pages,
    state,
    faults,
    /** What happens to contacts in Intercom itself; each change is sent to `state.webhookEndpoint`. */
    contacts,
    listen: (port?: number) => listenOnLoopback(app, port),
    addWorkspace(fields: Pick<Workspace, 'id'> & Partial<Workspace>): Workspace {
      const { id } = fields;
      const workspace: Workspace = {
        name: id,
        region: 'US',
        timezone: 'America/New_York',
        createdAtS: seconds(now()),
        installed: false,
        identityVerification: true,
        planRefusal: null,
        health: null,
        ...fields,
      };
      state.workspaces.set(id, workspace);
      // Every workspace has a bot, which is listed among the admins.
      const botId = newId();
      state.admins.set(botId, {
        id: botId,
        workspaceId: id,
        name: 'Fin',
        email: `operator+${id}@intercom.io`,
        emailVerified: false,
        isBot: true,
      });
      return workspace;
    },
    addAdmin(workspaceId: string, fields: Partial<Omit<Admin, 'workspaceId' | 'isBot'>> = {}): Admin {
      const { id = newId() } = fields;
      const defaults = { name: 'Ada Agent', email: `ada.${id}@example.com`, emailVerified: true };
      const admin: Admin = { ...defaults, ...fields, id, workspaceId, isBot: false };
      state.admins.set(id, admin);
      return admin;
    },
    /** Sends no webhook, as if the contact had existed before. */
    addContact: (workspaceId: string, fields: NewContact) => insertContact(state, now(), workspaceId, fields),
    addAttribute: (workspaceId: string, name: string, dataType: AttributeType = 'string') =>
      insertAttribute(state, now(), workspaceId, { name, dataType }),
    /** @param fields.quotingReplies number of replies by e-mail, each of which quotes all messages before it */
    addConversation(
      workspaceId: string,
      fields: Pick<Conversation, 'contactIds'> & Partial<Conversation> & { quotingReplies?: number },
    ): Conversation {
      const { contactIds, quotingReplies = 0, id = newId(), createdAtS: atS = seconds(now()) } = fields;
      const { body = '<p>Hello</p>' } = fields;
      const conversation: Conversation = {
        id,
        workspaceId,
        contactIds: [...contactIds],
        body,
        createdAtS: atS,
        updatedAtS: atS,
        parts: [],
      };
      for (let number = 1; number <= quotingReplies; number += 1) {
        const quoted = conversation.parts.at(-1)?.body ?? body;
        addPart(conversation, {
          partType: 'comment',
          authorType: 'user',
          authorId: contactIds[0] ?? '',
          body: `<p>Any news? (${number})</p><blockquote>${quoted}</blockquote>`,
          createdAtS: atS + number,
        });
      }
      state.conversations.set(id, conversation);
      return conversation;
    },
    /** Issues a token like an installation does; by default with the scopes that the app needs. */
    issueToken(workspaceId: string, scopes: readonly IntercomScope[] = DEFAULT_SCOPES): string {
      const workspace = state.workspaces.get(workspaceId);
      if (workspace) workspace.installed = true;
      return insertToken(state, workspaceId, scopes).token;
    },
    revokeTokens: (workspaceId: string) => revokeTokens(state, workspaceId),
  };
}

const FAULT_CODES: Readonly<Record<number, string>> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  408: 'request_timeout',
  409: 'conflict',
  422: 'unprocessable_entity',
  429: 'rate_limit_exceeded',
  503: 'service_unavailable',
};

/** Requirements on the headers of every REST call. Source: Intercom, "HTTP responses" and "API versioning". */
const checkRequest: RequestHandler = (req, _res, next) => {
  const version = req.get('intercom-version');
  if (version !== undefined && !VERSION_PATTERN.test(version)) {
    throw refusal(400, 'intercom_version_invalid', 'The requested version could not be found');
  }
  if (!req.accepts('json'))
    throw refusal(406, 'client_error', 'The Accept header should send a media type of application/json');
  if (
    req.headers['content-length'] !== undefined &&
    req.headers['content-length'] !== '0' &&
    !req.is('json')
  ) {
    throw refusal(400, 'bad_request', 'The Content-Type header should be application/json');
  }
  next();
};

function authenticate(state: IntercomState): RequestHandler {
  return (req, res, next) => {
    const given = /^Bearer (\S+)$/i.exec(req.get('authorization') ?? '')?.[1];
    if (given === undefined) throw refusal(401, 'missing_authorization', 'Missing authorization header');
    const token = state.tokens.get(given);
    const workspace = token && state.workspaces.get(token.workspaceId);
    const admin = token && state.admins.get(token.adminId);
    if (!token || !workspace || !admin) throw refusal(401, 'unauthorized', 'Access Token Invalid');
    if (token.status !== 'valid') throw refusal(401, `token_${token.status}`, `The token is ${token.status}`);
    const version = req.get('intercom-version') ?? DEFAULT_VERSION;
    res.locals.session = { token, workspace, admin, version } satisfies Session;
    res.set('X-Intercom-Version', version);
    next();
  };
}
