// The one part of a multipart/related answer (RFC 2387).

import { text } from "./text.js";

/**
 * Returns the content of the first part of a multipart body.
 * @param {ArrayBuffer} body
 * @param {string} contentType  of the answer, which names the boundary
 * @returns {ArrayBuffer}
 * @throws {Error} It is no multipart body.
 */
export function multipartContent(body, contentType) {
  const boundary = /boundary="?([^";,]+)"?/i.exec(contentType)?.[1];
  const bytes = new Uint8Array(body);
  const start = boundary ? indexOf(bytes, `--${boundary}\r\n`, 0) : -1;
  const blank = start < 0 ? -1 : indexOf(bytes, "\r\n\r\n", start);
  if (blank < 0) throw new Error(text.noParts);
  const head = new TextDecoder("latin1").decode(bytes.subarray(start, blank));
  const length = /^content-length: *([0-9]+) *$/im.exec(head)?.[1];
  const from = blank + 4;
  const end = length ? from + Number(length) : indexOf(bytes, `\r\n--${boundary}`, from);
  if (end < from || end > bytes.length) throw new Error(text.partCut);
  return body.slice(from, end);
}

/**
 * @param {Uint8Array} bytes
 * @param {string} wanted  ASCII
 * @param {number} from
 */
function indexOf(bytes, wanted, from) {
  const codes = [...wanted].map((character) => character.charCodeAt(0));
  for (let at = bytes.indexOf(codes[0], from); at >= 0; at = bytes.indexOf(codes[0], at + 1)) {
    if (codes.every((each, offset) => bytes[at + offset] === each)) return at;
  }
  return -1;
}
