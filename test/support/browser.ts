import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import packedChromium from '@sparticuz/chromium';
import { type Browser, chromium, type Page } from 'playwright-core';
import { atEnd } from './test-process.ts';

const run = promisify(execFile);

/** The version of Chromium, then that of its font configuration. */
const VERSION = '147.3';

const ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--font-render-hinting=none',
];

let shared: Promise<Browser> | null = null;

/** The browser that the test files of a process share. Its `close` closes only the pages of the current file. */
export function sharedBrowser(): Promise<Browser> {
  shared ??= launchBrowser().then((browser) => {
    const end = browser.close.bind(browser);
    atEnd(end);
    browser.close = async () => {
      await Promise.all(browser.contexts().map((context) => context.close()));
    };
    return browser;
  });
  return shared;
}

/** Installs the app as an admin who clicks *Install* in the App Store, through the simulator's pages. */
export async function installApp(page: Page, appUrl: string, workspaceId: string): Promise<void> {
  await page.goto(`${appUrl}/install`);
  await page.getByLabel('Workspace').selectOption(workspaceId);
  await page.getByRole('button', { name: 'Authorize access' }).click();
  await page.waitForURL(/appstore\/redirect|\/settings/);
}

/** Starts a headless Chromium: `CHROMIUM_PATH`, the system's, or the one that `npm ci` installed. */
export async function launchBrowser(): Promise<Browser> {
  const installed = [process.env.CHROMIUM_PATH, '/usr/bin/chromium'].find(
    (path) => path !== undefined && path !== '' && existsSync(path),
  );
  if (installed !== undefined) return chromium.launch({ executablePath: installed, args: ARGUMENTS });
  const folder = await unpackedChromium();
  const executablePath = join(folder, 'chromium');
  return chromium.launch({
    executablePath,
    args: ARGUMENTS,
    env: { ...definedEnvironment(), ...(await environmentFor(folder, executablePath)) },
  });
}

/**
 * The package unpacks to fixed names in the temporary folder, and mistakes a half-written file for a complete one.
 * Test processes run in parallel, so each unpacks into its own folder. An atomic rename makes it the shared one.
 */
async function unpackedChromium(): Promise<string> {
  const shared = join(tmpdir(), `subscription-timeline-chromium-${process.getuid?.() ?? 0}-${VERSION}`);
  if (existsSync(shared)) return shared;
  const folder = await mkdtemp(join(tmpdir(), 'chromium-'));
  await extractInto(folder);
  await mkdir(join(folder, 'font-cache'), { recursive: true });
  await writeFile(join(folder, 'fonts.conf'), fontConfiguration(shared));
  try {
    await rename(folder, shared);
  } catch (error) {
    if (!existsSync(shared)) throw error;
    await rm(folder, { recursive: true, force: true });
  }
  return shared;
}

/**
 * The target folder and the request for the shared libraries can only be passed as environment variables. The package
 * reads both before its first await, so they can be restored as soon as the call returns.
 */
function extractInto(folder: string): Promise<string> {
  const before = { TMPDIR: process.env.TMPDIR, AWS_EXECUTION_ENV: process.env.AWS_EXECUTION_ENV };
  process.env.TMPDIR = folder;
  process.env.AWS_EXECUTION_ENV = 'AWS_Lambda_nodejs24.x';
  try {
    return packedChromium.executablePath();
  } finally {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

async function environmentFor(folder: string, executablePath: string): Promise<Record<string, string>> {
  const fonts = { FONTCONFIG_FILE: join(folder, 'fonts.conf') };
  try {
    await run(executablePath, ['--version']);
    return fonts;
  } catch {
    // A bare machine has no NSS libraries; the package carries a set that needs nothing but glibc.
    return { ...fonts, LD_LIBRARY_PATH: join(folder, 'al2023', 'lib') };
  }
}

/**
 * Uses the same typeface on every machine, so that screenshots and heights agree. Other fonts only supply missing
 * characters, except DejaVu Sans Mono, which is for the picture of a terminal.
 */
function fontConfiguration(folder: string): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${folder}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${folder}/font-cache</cachedir>
  <match target="pattern"><test name="family" compare="not_eq"><string>DejaVu Sans Mono</string></test><edit name="family" mode="prepend" binding="strong"><string>Open Sans</string></edit></match>
</fontconfig>
`;
}

function definedEnvironment(): Record<string, string> {
  const entries = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return Object.fromEntries(entries);
}
