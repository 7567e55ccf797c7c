// Shows the kernel on V8, in Node.js: node main.mjs KERNEL.wasm CONFORMANCE.json PLUGINS
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { run } from "../javascript/runner.mjs";

const [kernel, conformance, plugins] = process.argv.slice(2);

/** In a buffer of its own, unlike the small files of readFileSync: polywasm looks for constants from the buffer's start. */
const bytes = (file) => new Uint8Array(readFileSync(file));

/** The cases run in the replayer that README names, which is a program of its own, and are told as by that. */
function replay() {
  const program = fileURLToPath(new URL("replay.mjs", import.meta.url));
  const { stdout } = spawnSync(process.execPath, [program, kernel, conformance], { encoding: "utf8", maxBuffer: 1 << 26 });
  const lines = stdout.trimEnd().split("\n");
  const [, passed, failed] = /^(\d+) passed, (\d+) failed$/.exec(lines.pop()) ?? [];
  lines.forEach((line) => console.error(line));
  return { cases: Number(passed) + Number(failed), failed: Number(failed) };
}

const { summary, good } = await run({
  ...(globalThis.standIn ?? { engine: "v8", version: process.versions.v8 }), // ../polywasm has put itself in V8's place
  kernel: bytes(kernel),
  load: (name) => bytes(`${plugins}/${name}.wasm`),
  report: (what) => console.error(`FAILED ${what}`),
  replay,
});
console.log(JSON.stringify(summary));
process.exitCode = good ? 0 : 1;
