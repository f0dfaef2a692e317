import { z } from 'zod';
import { LANGUAGES } from '../i18n/languages.ts';
import { type DeliverableKind, EVENT_KINDS } from '../subscription/kinds.ts';
import { isRecord } from '../text.ts';

/** Steps of the setup checklist that an admin can mark as done. */
export const OPTIONAL_STEPS = ['import', 'events', 'messenger'] as const;

const eventSettingSchema = z.object({
  /** Blank: the default name. */
  name: z.string().default(''),
  enabled: z.boolean().default(true),
});

/** An object, which drops unknown keys: an event kind stored by a newer version must not invalidate the others. */
const eventSettings = Object.fromEntries(
  EVENT_KINDS.map((kind) => [kind, eventSettingSchema.optional()]),
) as Record<DeliverableKind, z.ZodOptional<typeof eventSettingSchema>>;

/** Each value has a default, which a new workspace starts with. */
const section = <Shape extends z.ZodRawShape>(shape: Shape) => z.object(shape).prefault({} as never);
/** `null`: every teammate. */
const adminIds = z.array(z.string()).nullable().default(null);
/** `null`: no limit. */
const limit = (byDefault: number | null) => z.number().int().min(1).nullable().default(byDefault);
const personSchema = z.object({ id: z.string(), name: z.string() });

const storeActionSchema = section({
  enabled: z.boolean().default(false),
  allowedAdminIds: adminIds,
  /** Larger amounts need a second teammate, in units of the currency paid; `null`: no amount does. */
  maxAmountAlone: z.number().min(0).nullable().default(null),
  /** How often one teammate can use it in a calendar month (UTC). */
  monthlyPerAdmin: limit(null),
});

/** What a workspace's admins can set. */
export const workspaceSettingsSchema = z.object({
  events: z.object(eventSettings).default({}),
  contacts: section({
    /** For which subscribers a missing contact is created. */
    create: z.enum(['never', 'identified', 'all']).default('never'),
    matchByEmail: z.boolean().default(false),
  }),
  sandbox: section({
    /** Whether sandbox events are sent to contacts; they are on the timeline in any case. */
    deliver: z.boolean().default(false),
  }),
  card: section({
    /** The inbox card's language for teammates whose language Intercom does not send; `null`: English. */
    language: z.enum(LANGUAGES).nullable().default(null),
    picture: z.boolean().default(true),
  }),
  messenger: section({
    /**
     * An admin's decision to show subscriptions in the Messenger although Intercom does not enforce identity
     * verification, so that anyone can pose as any user there; `null`: they are not shown.
     */
    unverifiedAccepted: z
      .object({ reason: z.string(), admin: personSchema, at: z.string() })
      .nullable()
      .default(null),
  }),
  access: section({
    /** Who can change the settings; `null`: everyone who can sign in. */
    admins: z.array(personSchema).nullable().default(null),
  }),
  grants: section({
    enabled: z.boolean().default(true),
    allowedAdminIds: adminIds,
    longestDays: z.number().int().min(1).default(366),
    lifetimeAllowed: z.boolean().default(false),
    reasonRequired: z.boolean().default(true),
    /** Grants that one teammate can make in a calendar month (UTC). */
    monthlyPerAdmin: limit(null),
    /** Grants longer than this need a second teammate. */
    secondPersonAboveDays: limit(null),
    /** One grant for more customers than this needs a second teammate. */
    bulkSecondPersonAbove: limit(100),
  }),
  /** Teammates' actions on store purchases. Each is off until an admin switches it on. */
  actions: section({
    cancel: storeActionSchema,
    refund: storeActionSchema,
    extend: storeActionSchema,
    transfer: storeActionSchema,
    manage: storeActionSchema,
  }),
  setup: section({ done: z.array(z.enum(OPTIONAL_STEPS)).default([]) }),
});

export type WorkspaceSettings = z.infer<typeof workspaceSettingsSchema>;

export const DEFAULT_SETTINGS: WorkspaceSettings = workspaceSettingsSchema.parse({});

/**
 * Reads stored settings; missing values get their defaults. A section that a newer version wrote and this one cannot
 * read gets its defaults alone: the rules for grants and for who may change settings must stay in force.
 */
export function readSettings(stored: unknown): WorkspaceSettings {
  const parsed = workspaceSettingsSchema.safeParse(stored);
  if (parsed.success) return parsed.data;
  const readable = Object.entries(isRecord(stored) ? stored : {}).filter(
    ([section, value]) => workspaceSettingsSchema.safeParse({ [section]: value }).success,
  );
  return workspaceSettingsSchema.parse(Object.fromEntries(readable));
}

/** Whether an admin can change the settings; everyone who can sign in can see them. */
export function canChangeSettings(settings: Pick<WorkspaceSettings, 'access'>, adminId: string): boolean {
  const { admins } = settings.access;
  return admins === null || admins.some((admin) => admin.id === adminId);
}
