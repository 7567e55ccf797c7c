// node measure.mjs PLUGIN.wasm NAME=FILE...: times calls of echo, as linked-engines does for engines in Rust.
import { readFileSync } from "node:fs";
import { checked, measure, open } from "./echo.mjs";

const [pluginFile, ...files] = process.argv.slice(2);
const compile = (file) => new WebAssembly.Module(readFileSync(file));
const plugin = compile(pluginFile);
const subjects = files.map((file) => file.split("="));
const calls = subjects.map(([, path]) => open(compile(path), plugin));

/** CPU time of this thread in microseconds, from Linux: what Node.js tells has steps of milliseconds. */
const clock = () => Number(readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[0]) / 1000;

const inputs = new Map();
await measure("v8", subjects.map(([name]) => name), (at, size, count) => {
  if (!inputs.has(size)) inputs.set(size, checked(size, calls));
  const [call, input] = [calls[at], inputs.get(size)];
  const start = clock();
  for (let i = 0; i < count; i++) call(input);
  return clock() - start;
});
