import { AppError } from '../errors.ts';
import { fitAttribute, provisionAttributes } from '../intercom/data-attributes.ts';
import { markAttributesReady } from '../workspaces/store.ts';
import { giveWay, type Interruption, type Round } from './attempt.ts';
import { changedAttributes } from './plan.ts';
import { noteAccepted } from './refused.ts';

type Values = Readonly<Record<string, unknown>>;

export type Written = { readonly kind: 'written'; readonly values: Values | null };

/**
 * Writes the attributes that have changed, in one call. When Intercom refuses their content, somebody may have
 * deleted an attribute, or have made one of another type: what is missing is made, and what fits is written.
 *
 * @param written what is on the contact already; `null`: not known
 * @returns what is on the contact now, or why the round must end
 */
export async function writeAttributes(
  round: Round,
  contactId: string,
  wanted: Values,
  written: Values | null,
): Promise<Written | Interruption> {
  const { context, claim } = round;
  const changed = changedAttributes(wanted, written);
  let types = context.attributeTypes.get(claim.workspaceId);
  for (const effort of ['as is', 'fitted', 'without null'] as const) {
    const fitting = effort === 'without null' ? withoutNull(changed, types) : fitted(changed, types);
    // What fits may be what is there: an attribute of another type holds the value as that type has it.
    const values = changedAttributes(fitting, written);
    if (Object.keys(values).length === 0) return { kind: 'written', values: written };
    if (!round.isHeld()) return { kind: 'lost' };
    const refusal = await put(round, contactId, values);
    if (refusal === null) return { kind: 'written', values: { ...written, ...values } };
    if (refusal.remedy.kind === 'follow_contact')
      return { kind: 'follow', contactId: refusal.remedy.contactId };
    if (refusal.remedy.kind === 'wait_for_contact') return { kind: 'contact_gone' };
    // Which code names a missing attribute is UNVERIFIED: any refusal of the content is looked into.
    if (!isAboutContent(refusal) || effort === 'without null') return giveWay(round, refusal);
    if (effort === 'as is') {
      const provisioned = await provision(round, refusal);
      if ('kind' in provisioned) return provisioned;
      types = provisioned.types;
      context.attributeTypes.set(claim.workspaceId, types);
    }
  }
  return { kind: 'written', values: written };
}

function isAboutContent(error: AppError): boolean {
  return error.code === 'intercom_rejected' || error.code === 'intercom_attribute_missing';
}

async function put(round: Round, contactId: string, values: Values): Promise<AppError | null> {
  const { context, claim, client } = round;
  const request = { custom_attributes: values };
  const log = { subscriberId: claim.subscriberId, eventId: null, request };
  try {
    await client.updateContact(contactId, request);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const { upstreamStatus: status, upstreamAnswer: answer, code, message } = error;
    await context.writer.record(claim.workspaceId, { ...log, status, code, message, answer });
    return error;
  }
  await noteAccepted(round, 'contacts');
  await context.writer.record(claim.workspaceId, {
    ...log,
    status: 200,
    code: 'ok',
    message: null,
    // It repeats the whole contact, which is kept in Intercom alone.
    answer: null,
  });
  return null;
}

function fitted(values: Values, types: ReadonlyMap<string, string> | undefined): Values {
  if (!types) return values;
  const fitting: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(values)) {
    const type = types.get(name);
    const fit = type === undefined ? undefined : fitAttribute(value, type);
    if (fit !== undefined) fitting[name] = fit;
  }
  return fitting;
}

/** Leads have been seen to refuse `null` and to take an empty text (an old report, UNVERIFIED). */
function withoutNull(values: Values, types: ReadonlyMap<string, string> | undefined): Values {
  const entries = Object.entries(fitted(values, types)).flatMap(([name, value]): [string, unknown][] => {
    if (value !== null) return [[name, value]];
    return types?.get(name) === 'string' ? [[name, '']] : [];
  });
  return Object.fromEntries(entries);
}

/** The types of the workspace's attributes after making what is missing, or how the round must end. */
async function provision(
  round: Round,
  refusal: AppError,
): Promise<{ types: ReadonlyMap<string, string> } | Interruption> {
  const { context, claim, client } = round;
  try {
    const { available, created, failed } = await provisionAttributes(client);
    await markAttributesReady(context.database, claim.workspaceId, failed.length === 0);
    context.logger.info(
      { workspaceId: claim.workspaceId, created, failed, refusal: refusal.code },
      'attributes provisioned again',
    );
    return { types: available };
  } catch (error) {
    return giveWay(round, error);
  }
}
