import { hash } from 'node:crypto';
import type { Response } from 'express';

/** Sends a file that pages load. Browsers revalidate it for each page, so no page uses one of another version. */
export function sendAsset(res: Response, type: string, content: string | Buffer): void {
  const etag = `"${hash('sha256', content, 'base64url')}"`;
  res.set({ 'Cache-Control': 'no-cache', ETag: etag }).type(type).send(content);
}
