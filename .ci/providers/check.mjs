// check.mjs BELLTOWER TWILIO CONTRACTS: the real binary sends to what others wrote.
// TWILIO is Twilio's own client (folder twilio), CONTRACTS the folder of the
// providers' descriptions, or "" where there is none.
import { rmSync } from "node:fs";
import { closeAll, folder } from "./common.mjs";
import { checks, found } from "./contracts.mjs";
import { receipts } from "./receipts.mjs";
import { webhooks } from "./webhooks.mjs";
import { webpush } from "./webpush.mjs";

const [, , , client, contracts] = process.argv;
const all = { webhooks, webpush, receipts };
if (contracts && found(contracts)) {
  for (const [name, check] of Object.entries(checks)) {
    all[`contract: ${name}`] = () => check(contracts, client);
  }
} else {
  console.log("skipped: the providers' descriptions are not here");
}
let failed = 0;
for (const [name, check] of Object.entries(all)) {
  const began = Date.now();
  try {
    await check();
    console.log(`ok      ${name} (${Date.now() - began} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}
closeAll();
rmSync(folder, { recursive: true, force: true });
process.exit(failed ? 1 : 0);
