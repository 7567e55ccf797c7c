// Prints the hash of the trace of tests/engines/README.md: node hash.mjs KERNEL.wasm [FUNCTION INPUT OUTPUT]
//
// The file may be a kernel that was merged with a plugin. If a function of the plugin is named, it must answer the input with the
// output; what the plugin imports of its host answers 0.
import { readFileSync } from "node:fs";
import { trace } from "../engines/javascript/trace.mjs";

const [file, name, input, output] = process.argv.slice(2);
const bytes = readFileSync(file);
const module = await WebAssembly.compile(bytes);

/** What is left of "extism:host/env": no function of the kernel's may be. */
const imports = {};
for (const { module: space, name } of WebAssembly.Module.imports(module)) {
  if (!/^(config_get|var_get|var_set|http_|log_|get_log_level)/.test(name)) throw new Error(`${space} ${name} is still imported`);
  (imports[space] ??= {})[name] = () => 0n;
}

const instantiate = WebAssembly.instantiate;
WebAssembly.instantiate = (wasm) => instantiate(wasm, imports);
console.log(await trace(bytes));

if (name) {
  const { exports: merged } = (await WebAssembly.instantiate(bytes)).instance;
  merged.reset();
  const text = new TextEncoder().encode(input);
  const handle = merged.alloc(BigInt(text.length));
  new Uint8Array(merged.memory.buffer).set(text, Number(handle));
  merged.input_set(handle, BigInt(text.length));
  const code = merged[name]();
  const found = new TextDecoder().decode(new Uint8Array(merged.memory.buffer, Number(merged.output_offset()), Number(merged.output_length())));
  if (code || found !== output) throw new Error(`${name} returned ${code}, its output is ${found}`);
}
