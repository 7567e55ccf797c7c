// Gets {kernel, cases}; sends for each case what is wrong with it, or undefined.
import { replay } from "./conformance.mjs";

self.onmessage = ({ data: { kernel, cases } }) => {
  for (const each of cases) self.postMessage(replay(kernel, each));
};
