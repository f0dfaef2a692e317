import { globSync, readFileSync } from 'node:fs';
import { report } from './report.ts';

/** Fails on words of the project's former dialect: each has a plain word that everyone knows. */
const WORDS: readonly (readonly [pattern: RegExp, use: string])[] = [
  [/\b(?:MOST|LONGEST|LARGEST|SELDOM)_?[A-Z_]*\b/, 'MAX_…, LOW_PRIORITY'],
  [/\b(?:LEAST|USUAL)_[A-Z_]+\b/, 'MIN_…, DEFAULT_…'],
  [/\b\w*[iI]nWords\b|\bwordFor\b|\bsaid\(\)/, 'format…, messageFor'],
  [/\bVerdict\b|\bjudge[A-Z]\w*\b/, 'Decision, decide'],
  [/\b(?:re)?seal(?:ed|s)?\b|\bSealed\w*\b/, 'encrypt'],
  [
    /\b(?:giveWay|standIns|worthComparing|obstacleTo|waysOn|wayBack|toldOf|firmness)\b/,
    'see ARCHITECTURE.md',
  ],
  [/\b(?:Patient|examine)\b/, 'context, run checks'],
  [/\b(?:somebody|strangers?)\b/i, 'name the role: unknown customer, unauthenticated caller'],
  [/\b(?:anew|meanwhile|thereby|whom|twin|once more)\b/i, 'again, concurrently, duplicate'],
  [/\b(?:in hand|is away|are away|by itself|by themselves)\b/i, 'claimed, is unavailable, automatically'],
  [
    /\b(?:goes on|go on|at once|for long|looks again)\b/i,
    'continues, immediately, for a long time, re-reads',
  ],
  [/\b(?:stands for|stands in|stand in for)\b/i, 'is, represents'],
];

const files = globSync(['src/**/*.{ts,eta,js,json}', 'bench/**/*.ts', 'docs/*.md', '*.md']).sort();
const problems: string[] = [];
for (const file of files) {
  const lines = readFileSync(file, 'utf8').split('\n');
  for (const [index, line] of lines.entries()) {
    for (const [pattern, use] of WORDS) {
      const found = pattern.exec(line)?.[0];
      if (found !== undefined) problems.push(`${file}:${index + 1}: "${found}": ${use}`);
    }
  }
}

report(problems, 'Plain language.');
