/** Whether a product is named by RevenueCat's own id: nobody outside RevenueCat's API has ever seen it. */
export function isInternalProductId(id: string): boolean {
  return /^prod[0-9a-f]{8,}$/.test(id);
}
