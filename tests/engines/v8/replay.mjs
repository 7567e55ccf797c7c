// Replays the conformance cases on a kernel: node replay.mjs KERNEL.wasm conformance.json [PAGE_LIMIT]
// PAGE_LIMIT is the most pages that a case's memory may grow by that doesn't say so itself (default 1024).
import { readFileSync } from "node:fs";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { limited } from "../javascript/limit.mjs";

const [kernel, file, pageLimit = "1024"] = isMainThread ? process.argv.slice(2) : workerData.files;
const { cases } = JSON.parse(readFileSync(file, "utf8"));
const SECONDS = 20; // for a case; more is an endless loop

function replay({ spare = pageLimit, steps }) {
  const module = new WebAssembly.Module(limited(readFileSync(kernel), Number(spare), { spare: true }));
  const { exports } = new WebAssembly.Instance(module);
  const bytes = () => Buffer.from(exports.memory.buffer);
  const object = {}, names = { start: bytes().length };
  const number = (text) => {
    const [, name, delta = "0"] = /^\$([a-z_]+)([+-]\d+)?$/.exec(text) ?? [, , text];
    const start = name === "end" ? bytes().length : name === undefined ? 0 : names[name];
    return BigInt.asUintN(64, BigInt(start) + BigInt(delta));
  };
  const call = (name, args) => {
    const typed = args.map((arg, i) => (name === "store_u8" && i === 1 ? Number(number(arg)) : number(arg)));
    return BigInt.asUintN(64, BigInt(exports[name](...typed) ?? 0));
  };
  const range = (at, length) => bytes().subarray(Number(at), Number(at) + Number(length));
  const same = ({ hex, length, byte }, at) => {
    if (hex) return range(number(at), hex.length / 2).toString("hex") === hex;
    const there = range(number(at), number(length));
    return BigInt(there.length) === number(length) && there.every((value) => value === Number(byte));
  };
  const checks = {
    result: (x, y) => x === number(y), result_not: (x, y) => x !== number(y),
    result_below: (x, y) => x < number(y), result_at_least: (x, y) => x >= number(y),
    result_multiple_of: (x, y) => x % number(y) === 0n, result_one_of: (x, list) => list.map(number).includes(x),
  };
  function run(step) {
    let ok = true, result;
    if ("repeat" in step) for (let n = Number(step.repeat); n > 0; n--) step.steps.forEach(run);
    else if ("call" in step) result = call(step.call, step.args);
    else if ("peek" in step) result = bytes().readBigUInt64LE(Number(number(step.peek)));
    else if ("poke" in step) bytes().writeBigUInt64LE(number(step.value), Number(number(step.poke)));
    else if ("value" in step) result = number(step.value);
    else if ("read" in step) ok = same(step, step.read);
    else if ("write" in step && step.hex) bytes().set(Buffer.from(step.hex, "hex"), Number(number(step.write)));
    else if ("write" in step) range(number(step.write), number(step.length)).fill(Number(step.byte));
    else if ("pages" in step) ok = bytes().length === Number(step.pages) * 65536;
    else if ("grow" in step) exports.memory.grow(Number(step.grow));
    else if ("inside" in step) ok = number(step.length) === 0n || number(step.inside) + number(step.length) <= bytes().length;
    else if ("exports" in step) {
      const found = Object.keys(exports).filter((name) => !step.optional.includes(name));
      ok = String(found.sort()) === String([...step.exports].sort());
    } else if ("context" in step && exports.extism_context) {
      if (step.context === "set") exports.extism_context.value = object;
      ok = exports.extism_context.value === (step.context === "null" ? null : object);
    }
    for (const [key, check] of Object.entries(checks)) if (key in step) ok &&= check(result, step[key]);
    if (!ok) throw `${JSON.stringify(step)}${result === undefined ? "" : ` gave ${result}`}`;
    if (step.save) names[step.save] = result;
  }
  steps.forEach(run);
}

if (!isMainThread) {
  for (let i = workerData.first; i < cases.length; i++) {
    let failure;
    try { replay(cases[i]); } catch (error) { failure = error instanceof Error ? `trap: ${error.message}` : error; }
    parentPort.postMessage([i, failure]);
  }
} else {
  let failed = 0;
  const report = (i, failure) => {
    if (failure) failed++, console.log(`FAILED section ${cases[i].section}, ${cases[i].name}: ${failure} (${cases[i].reason})`);
    if (i + 1 < cases.length) return;
    console.log(`${cases.length - failed} passed, ${failed} failed`);
    process.exit(failed ? 1 : 0);
  };
  const start = (first) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { files: [kernel, file, pageLimit], first } });
    let timer;
    const wait = (i) => {
      clearTimeout(timer);
      timer = setTimeout(() => worker.terminate().then(() => (report(i, "endless loop"), start(i + 1))), SECONDS * 1000);
    };
    wait(first);
    worker.on("message", ([i, failure]) => (report(i, failure), wait(i + 1)));
  };
  start(0);
}
