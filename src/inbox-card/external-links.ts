import type { Customer } from './context.ts';

/** The customer in RevenueCat's dashboard, whose addresses leave out the project id's prefix. */
export function dashboardUrl(customer: Pick<Customer, 'project' | 'appUserId'>): string {
  const project = customer.project.revenueCatProjectId.replace(/^proj_?/, '');
  return `https://app.revenuecat.com/projects/${encodeURIComponent(project)}/customers/${encodeURIComponent(customer.appUserId)}`;
}
