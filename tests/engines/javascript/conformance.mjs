// Replays conformance cases with nothing but what browsers have too. The cases run in a worker, conformance-worker.mjs,
// since only a worker can be ended when a case runs endlessly.
import { limited } from "./limit.mjs";

const SECONDS = 20; // for a case; more is an endless loop
const SPARE_PAGES = 1024; // for cases that don't say
const PAGE = 65536;

/** How many cases there are, and how many failed; report tells each of these. */
export async function conformance(kernel, cases, report) {
  let failed = 0;
  for (let done = 0; done < cases.length; ) {
    const worker = new Worker(new URL("conformance-worker.mjs", import.meta.url), { type: "module" });
    await new Promise((resolve) => {
      let timer;
      const tell = (failure) => {
        if (failure) failed++, report(`section ${cases[done].section}, ${cases[done].name}: ${failure} (${cases[done].reason})`);
        clearTimeout(timer);
        if (++done === cases.length) resolve();
      };
      const endless = (why) => (tell(why), resolve());
      const wait = () => (timer = setTimeout(endless, SECONDS * 1000, "endless loop"));
      worker.onmessage = ({ data }) => (tell(data), done < cases.length && wait());
      worker.onerror = (event) => endless(`the worker ended: ${event.message}`);
      worker.postMessage({ kernel, cases: cases.slice(done) });
      wait();
    });
    worker.terminate();
  }
  return { cases: cases.length, failed };
}

/** Replays one case: what is wrong, or undefined. */
export function replay(kernel, { spare = SPARE_PAGES, steps }) {
  try {
    const module = new WebAssembly.Module(limited(kernel, Number(spare), { spare: true }));
    new Replay(new WebAssembly.Instance(module).exports).run(steps);
  } catch (error) {
    return error instanceof Error ? `trap: ${error.message}` : error;
  }
}

const unsigned = (value) => BigInt.asUintN(64, BigInt(value));
const fromHex = (hex) => Uint8Array.from(hex.match(/../g), (digits) => parseInt(digits, 16));

class Replay {
  #object = {};

  constructor(exports) {
    this.exports = exports;
    this.names = { start: this.size };
  }

  get size() {
    return this.exports.memory.buffer.byteLength;
  }

  /** A part of the memory itself. Throws if it isn't inside. */
  view(at, length) {
    return new Uint8Array(this.exports.memory.buffer, Number(at), Number(length));
  }

  words(at) {
    return new DataView(this.exports.memory.buffer, Number(at), 8);
  }

  number(operand) {
    const [, name, delta = "0"] = /^\$([a-z_]+)([+-]\d+)?$/.exec(operand) ?? [, , operand];
    const start = name === "end" ? this.size : name === undefined ? 0 : this.names[name];
    return unsigned(BigInt(start) + BigInt(delta));
  }

  call(name, operands) {
    const args = operands.map((operand, i) => (name === "store_u8" && i === 1 ? Number : BigInt)(this.number(operand)));
    const result = this.exports[name](...args) ?? 0;
    return typeof result === "number" ? BigInt(result >>> 0) : unsigned(result);
  }

  run(steps) {
    for (const step of steps) this.step(step);
  }

  step(step) {
    const number = (operand) => this.number(operand);
    let ok = true, result;
    if ("repeat" in step) for (let n = Number(step.repeat); n > 0; n--) this.run(step.steps);
    else if ("call" in step) result = this.call(step.call, step.args);
    else if ("peek" in step) result = this.words(number(step.peek)).getBigUint64(0, true);
    else if ("poke" in step) this.words(number(step.poke)).setBigUint64(0, number(step.value), true);
    else if ("value" in step) result = number(step.value);
    else if ("read" in step && step.hex) {
      const bytes = fromHex(step.hex);
      ok = this.view(number(step.read), bytes.length).every((byte, i) => byte === bytes[i]);
    } else if ("read" in step) ok = this.view(number(step.read), number(step.length)).every((byte) => byte === Number(step.byte));
    else if ("write" in step && step.hex) this.view(number(step.write), step.hex.length / 2).set(fromHex(step.hex));
    else if ("write" in step) this.view(number(step.write), number(step.length)).fill(Number(step.byte));
    else if ("pages" in step) ok = this.size === Number(step.pages) * PAGE;
    else if ("grow" in step) this.exports.memory.grow(Number(step.grow));
    else if ("inside" in step) ok = number(step.length) === 0n || number(step.inside) + number(step.length) <= this.size;
    else if ("exports" in step) {
      // That it imports nothing is shown: it was instantiated without imports.
      const found = Object.keys(this.exports).filter((name) => !step.optional.includes(name));
      ok = String(found.sort()) === String([...step.exports].sort());
    } else if ("context" in step) ok = this.context(step.context);
    else throw `a step of an unknown kind: ${JSON.stringify(step)}`;
    for (const [key, holds] of Object.entries(CHECKS)) if (key in step) ok &&= holds(result, number(step[key]));
    if ("result_one_of" in step) ok &&= step.result_one_of.map(number).includes(result);
    if (!ok) throw `${JSON.stringify(step)}${result === undefined ? "" : ` gave ${result}`}`;
    if (step.save) this.names[step.save] = result;
  }

  context(what) {
    const global = this.exports.extism_context;
    if (!global) return true;
    if (what === "set") global.value = this.#object;
    return global.value === (what === "null" ? null : this.#object);
  }
}

const CHECKS = {
  result: (x, y) => x === y,
  result_not: (x, y) => x !== y,
  result_below: (x, y) => x < y,
  result_at_least: (x, y) => x >= y,
  result_multiple_of: (x, y) => x % y === 0n,
};
