// Shows the kernel on JavaScriptCore: bun main.mjs KERNEL.wasm CONFORMANCE.json PLUGINS
import { run } from "../javascript/runner.mjs";

const [kernel, cases, plugins] = process.argv.slice(2);
const bytes = async (file) => new Uint8Array(await Bun.file(file).arrayBuffer());
const { summary, good } = await run({
  engine: "bun",
  version: Bun.version,
  kernel: await bytes(kernel),
  cases: (await Bun.file(cases).json()).cases,
  load: (name) => bytes(`${plugins}/${name}.wasm`),
  report: (what) => console.error(`FAILED ${what}`),
});
console.log(JSON.stringify(summary));
process.exit(good ? 0 : 1);
