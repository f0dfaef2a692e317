const ends: (() => Promise<unknown>)[] = [];

/** For what the test files of a process share: `end` runs after the last one. */
export function atEnd(end: () => Promise<unknown>): void {
  ends.push(end);
}

export async function runEnds(): Promise<void> {
  for (const end of ends.splice(0).reverse()) await end();
}
