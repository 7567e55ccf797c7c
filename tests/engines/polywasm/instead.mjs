// Puts polywasm in the place of the engine's own WebAssembly, and says so. Whoever runs then has no other, as in a browser in
// lockdown mode: V8's runner, and with it the host, which is ../javascript/host.mjs.
import { readFileSync } from "node:fs";

const folder = process.env.POLYWASM;
const { WebAssembly } = await import(`${folder}/index.js`);
const { version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
globalThis.WebAssembly = WebAssembly;
globalThis.standIn = { engine: "polywasm", version };
