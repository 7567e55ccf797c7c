/**
 * The module's bytes with a maximum for its memory: so many pages, or if `spare` so many more than it starts with.
 * JavaScript can limit memories that it makes, but not one that a module exports; hence the maximum is written into the bytes.
 */
export function limited(bytes, pages, { spare = false } = {}) {
  const leb = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >> 7)]);
  let at = 8; // behind the magic number and the version there are only sections: id, size, content
  const number = () => {
    for (let n = 0, shift = 0; ; shift += 7) {
      n |= (bytes[at] & 127) << shift;
      if (bytes[at++] < 128) return n;
    }
  };
  while (at < bytes.length) {
    const start = at++, id = bytes[start], size = number(), end = at + size;
    if (id === 5) {
      at += 2; // one memory, and whether it has a maximum
      const minimum = number();
      const section = [1, 1, ...leb(minimum), ...leb(spare ? minimum + pages : pages)];
      return Uint8Array.from([...bytes.subarray(0, start), id, section.length, ...section, ...bytes.subarray(end)]);
    }
    at = end;
  }
  throw new Error("the module has no memory of its own");
}
