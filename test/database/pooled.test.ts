import { describePooled } from './pooled.ts';
import { startTransactionPooler } from './transaction-pooler.ts';

// The same as "npm run test:pgbouncer", with a pooler that needs no package.
describePooled('a pooler in transaction mode', startTransactionPooler);
