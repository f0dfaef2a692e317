/** Ids from a pasted list or a CSV: the first column, with or without a heading; each once. */
export function parseCustomerList(text: string): string[] {
  const ids = text
    .split(/\r?\n/)
    .map(
      (line) =>
        line
          .trim()
          .split(/[,;\t]/, 1)[0]
          ?.trim()
          .replace(/^"(.*)"$/, '$1') ?? '',
    )
    .filter((id) => id !== '' && !/^(app_?user_?id|customer_?id|id)$/i.test(id));
  return [...new Set(ids)];
}

/** Why customers of a list are left out; empty when none is. */
export function leftOutText(count: number): string {
  if (count === 0) return '';
  const who =
    count === 1 ? '1 customer of the list was erased' : `${count} customers of the list were erased`;
  return `${who} and left out. An admin can allow them again under Settings › Data.`;
}
