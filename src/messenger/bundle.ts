import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { build, stop } from 'esbuild';

export interface Bundle {
  readonly code: string;
  /** Changes with the code, for addresses that browsers may keep. */
  readonly version: string;
}

let built: Promise<Bundle> | null = null;

/** The support page's script with the Messenger's SDK in it, made once in a process: no CDN has a say in it. */
export function supportScript(): Promise<Bundle> {
  built ??= bundle(join(import.meta.dirname, 'browser', 'support.js'));
  return built;
}

async function bundle(entryPoint: string): Promise<Bundle> {
  try {
    const result = await build({
      entryPoints: [entryPoint],
      bundle: true,
      minify: true,
      write: false,
      format: 'iife',
      // Web views of phones that are some years old.
      target: 'es2020',
      logLevel: 'silent',
    });
    const code = result.outputFiles[0]?.text ?? '';
    return { code, version: createHash('sha256').update(code).digest('hex').slice(0, 12) };
  } finally {
    // Its helper process is not needed any longer.
    await stop();
  }
}
