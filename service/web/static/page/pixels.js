// Stored values to grey, as the service's own renderer does it: the grayscale transformation sequence (PS3.4 N.2,
// PS3.3 C.11). What is in colour is left to the service, which sends it as a picture.

import { code, items, number, numbers, ofFrame, textOf, values, whole } from "./dicomjson.js";
import { text } from "./text.js";

/**
 * @typedef {import("./dicomjson.js").Dataset} Dataset
 * @typedef {import("./dicomjson.js").Element} Element
 * @typedef {import("./dicomjson.js").Keyword} Keyword
 * @typedef {(element: Element) => Promise<ArrayBuffer>} ReadBytes  what the dataset holds by its address only
 * @typedef {Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array}
 *   Samples
 */

/**
 * @typedef {object} ImageHeader  the Image Pixel Module (PS3.3 C.7.6.3)
 * @property {number} rows
 * @property {number} columns
 * @property {number} frames
 * @property {string} photometric
 * @property {number} bitsAllocated  0 where the file does not say
 * @property {number} bitsStored
 * @property {number} highBit
 * @property {boolean} signed
 * @property {boolean} isFloat
 * @property {boolean} isGrey  false: the service renders it
 */

/**
 * @typedef {object} Lut
 * @property {number} first  the input that the first entry maps
 * @property {Uint16Array} entries
 * @property {number} bits
 */

/**
 * @typedef {object} Voi  which values of interest become which grey (PS3.3 C.11.2)
 * @property {string} label  the file's explanation
 * @property {number} center
 * @property {number} width
 * @property {string} function
 * @property {Lut | null} lut  instead of a window
 */

/**
 * @typedef {object} Shading  all that follows the stored values
 * @property {{slope: number, intercept: number, lut: Lut | null}} modality
 * @property {Voi[]} vois  what the file offers
 * @property {{inverted: boolean, lut: Lut | null}} presentation
 * @property {string} unit
 */

const GREY = ["MONOCHROME1", "MONOCHROME2"];
const FUNCTIONS = ["LINEAR", "LINEAR_EXACT", "SIGMOID"];
const TABLE_SPAN = 65536;
const UNITS = new Map([["HU", "HU"], ["BQML", "Bq/ml"], ["CNTS", "counts"], ["GML", "g/ml"], ["MGML", "mg/ml"],
  ["OD", "OD"], ["PERCENT", "%"], ["CM2ML", "cm²/ml"], ["UMOLMLM", "µmol/ml/min"]]);

/** Why there is no picture, in a sentence. */
export class NotShown extends Error {}

/**
 * Reads the description of a dataset's pixels.
 * @param {Dataset} dataset
 * @returns {ImageHeader}
 * @throws {NotShown}
 */
export function readHeader(dataset) {
  const rows = whole(dataset, "Rows") ?? 0;
  const columns = whole(dataset, "Columns") ?? 0;
  if (rows < 1 || columns < 1) throw new NotShown(text.noPixels);
  const isFloat = "7FE00008" in dataset || "7FE00009" in dataset;
  const bitsAllocated = isFloat ? ("7FE00008" in dataset ? 32 : 64) : (whole(dataset, "BitsAllocated") ?? 0);
  let bitsStored = whole(dataset, "BitsStored") ?? bitsAllocated;
  if (bitsStored < 1 || bitsStored > bitsAllocated) bitsStored = bitsAllocated;
  let highBit = whole(dataset, "HighBit") ?? bitsStored - 1;
  if (highBit < bitsStored - 1 || highBit >= bitsAllocated) highBit = bitsStored - 1;
  const samples = whole(dataset, "SamplesPerPixel") ?? 1;
  const photometric = code(dataset, "PhotometricInterpretation") || (samples === 3 ? "RGB" : "MONOCHROME2");
  return {
    rows,
    columns,
    frames: Math.max(1, whole(dataset, "NumberOfFrames") ?? 1),
    photometric,
    bitsAllocated,
    bitsStored,
    highBit,
    signed: whole(dataset, "PixelRepresentation") === 1,
    isFloat,
    isGrey: GREY.includes(photometric) && samples === 1 && [0, 1, 8, 16, 32, 64].includes(bitsAllocated) &&
      !("00281101" in dataset && ["COLOR", "MIXED"].includes(code(dataset, "PixelPresentation"))),
  };
}

/**
 * Returns the sample values in a frame's bytes, little-endian (PS3.5 8.1.1). A frame that is too short ends in zeros.
 * @param {ArrayBuffer} bytes
 * @param {ImageHeader} header
 * @returns {Samples}
 * @throws {NotShown} They are not one sample for each pixel.
 */
export function readSamples(bytes, header) {
  const count = header.rows * header.columns;
  const allocated = header.bitsAllocated || (bytes.byteLength >= 2 * count ? 16 : 8);
  const size = allocated === 1 ? Math.ceil(count / 8) : (count * allocated) / 8;
  if (bytes.byteLength >= 2 * size + 2) throw new NotShown(text.notGrey);
  const whole = bytes.byteLength === size ? bytes : bytes.byteLength < size ? padded(bytes, size) : bytes.slice(0, size);
  if (header.isFloat) return allocated === 32 ? new Float32Array(whole) : new Float64Array(whole);
  if (allocated === 1) return unpackBits(new Uint8Array(whole), count);
  if (allocated === 64) throw new NotShown(text.notGrey); // whole numbers of 64 bits are none of JavaScript's
  const width = allocated / 8;
  const stored = header.bitsAllocated ? header.bitsStored : allocated;
  const highBit = header.bitsAllocated ? header.highBit : allocated - 1;
  const cells = typed(whole, width, header.signed);
  if (stored < allocated) {
    // What else stands in a cell, such as the retired overlays, is shifted out; the sign comes down with the shift.
    const up = 31 - highBit;
    const down = 32 - stored;
    const signed = header.signed;
    for (let at = 0; at < cells.length; at += 1) {
      cells[at] = signed ? (cells[at] << up) >> down : (cells[at] << up) >>> down;
    }
  }
  return cells;
}

/**
 * Returns the lowest and the highest of the samples; what is no finite number does not count.
 * @param {Samples} samples
 * @returns {[number, number]}
 */
export function extremes(samples) {
  let lowest = Infinity;
  let highest = -Infinity;
  for (let at = 0; at < samples.length; at += 1) {
    const value = samples[at];
    if (value < lowest && value !== -Infinity) lowest = value;
    if (value > highest && value !== Infinity) highest = value;
  }
  return lowest <= highest ? [lowest, highest] : [0, 0];
}

/**
 * Reads all that turns stored values into grey, for one frame.
 * @param {Dataset} dataset
 * @param {number} frame  from 1
 * @param {ReadBytes} readBytes
 * @returns {Promise<Shading>}
 */
export async function readShading(dataset, frame, readBytes) {
  const signed = whole(dataset, "PixelRepresentation") === 1;
  const modality = await readModality(dataset, frame, readBytes, signed);
  const negative = modality.lut === null && (signed || modality.intercept < 0 || modality.slope < 0);
  return {
    modality,
    vois: await readVois(dataset, frame, readBytes, negative),
    presentation: await readPresentation(dataset, readBytes),
    unit: unitOf(dataset, frame),
  };
}

/**
 * Returns the window that shows the lowest value black and the highest white.
 * @param {[number, number]} ends  of the samples
 * @param {Shading} shading
 * @returns {Voi}
 */
export function wholeRange(ends, shading) {
  const shown = shading.modality.lut
    ? lutExtremes(shading.modality.lut, ends)
    : /** @type {[number, number]} */ (ends.map((each) => toModality(each, shading)).sort((a, b) => a - b));
  const [low, high] = shown;
  if (low === high || (Number.isInteger(low) && Number.isInteger(high))) {
    return makeWindow("", (low + high + 1) / 2, high - low + 1, "LINEAR");
  }
  return makeWindow("", (low + high) / 2, high - low, "LINEAR_EXACT");
}

/**
 * Makes a window, with a function that is defined for its width (PS3.3 C.11.2.1.2.1).
 * @param {string} label
 * @param {number} center
 * @param {number} width
 * @param {string} [named]
 * @returns {Voi}
 */
export function makeWindow(label, center, width, named = "LINEAR") {
  return { label, center, width, function: width < 1 && named === "LINEAR" ? "LINEAR_EXACT" : named, lut: null };
}

/**
 * Returns the modality's value of a stored value.
 * @param {number} stored
 * @param {Shading} shading
 */
export function toModality(stored, { modality }) {
  return modality.lut ? look(modality.lut, stored) : stored * modality.slope + modality.intercept;
}

/**
 * Paints samples as opaque grey pixels.
 * @param {Samples} samples
 * @param {[number, number]} ends  of the samples
 * @param {Shading} shading
 * @param {Voi} voi
 * @param {boolean} inverted  once more, because somebody asked for it
 * @param {Uint32Array} pixels  where: red, green, blue and alpha of each
 */
export function paint(samples, ends, shading, voi, inverted, pixels) {
  const shade = shader(shading, voi, inverted);
  const [lowest, highest] = ends;
  if (!(samples instanceof Float32Array || samples instanceof Float64Array) && highest - lowest < TABLE_SPAN) {
    // Each value that occurs is shaded once, then every sample is looked up.
    const table = new Uint32Array(highest - lowest + 1);
    for (let at = 0; at < table.length; at += 1) table[at] = shade(lowest + at);
    for (let at = 0; at < samples.length; at += 1) pixels[at] = table[samples[at] - lowest];
  } else {
    for (let at = 0; at < samples.length; at += 1) pixels[at] = shade(samples[at]);
  }
}

/**
 * Returns what makes a pixel of a stored value.
 * @param {Shading} shading
 * @param {Voi} voi
 * @param {boolean} inverted
 * @returns {(stored: number) => number}
 */
function shader({ modality, presentation }, voi, inverted) {
  const { slope, intercept, lut } = modality;
  const interest = interestOf(voi);
  const after = presentation.lut;
  const last = after ? after.entries.length - 1 : 0;
  const full = after ? 2 ** after.bits - 1 : 1;
  return (stored) => {
    let value = interest(lut ? look(lut, stored) : stored * slope + intercept);
    if (after) value = look(after, value * last + after.first) / full;
    if (presentation.inverted) value = 1 - value;
    let grey = Math.floor(Math.min(Math.max(value, 0), 1) * 255 + 0.5) || 0; // what is no number is black
    if (inverted) grey = 255 - grey;
    return (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
  };
}

/**
 * Returns the function of a window or VOI LUT, to a number from 0 to 1 (PS3.3 C.11.2.1.2, C.11.2.1.3).
 * @param {Voi} voi
 * @returns {(value: number) => number}
 */
function interestOf({ center, width, function: named, lut }) {
  if (lut) {
    const full = 2 ** lut.bits - 1;
    return (value) => look(lut, value) / full;
  }
  if (named === "SIGMOID") {
    return (value) => 1 / (1 + Math.exp(Math.min(Math.max((-4 * (value - center)) / width, -700), 700)));
  }
  if (named === "LINEAR_EXACT") return (value) => (value - center) / width + 0.5;
  if (width === 1) return (value) => (value > center - 0.5 ? 1 : 0);
  return (value) => (value - (center - 0.5)) / (width - 1) + 0.5;
}

/**
 * Looks a value up; beyond its ends a table goes on with its end entries (PS3.3 C.11.1.1.1).
 * @param {Lut} lut
 * @param {number} value
 */
function look({ first, entries }, value) {
  const index = Math.floor(value - first + 0.5) || 0;
  return entries[Math.min(Math.max(index, 0), entries.length - 1)];
}

/**
 * @param {Lut} lut
 * @param {[number, number]} ends
 * @returns {[number, number]}
 */
function lutExtremes(lut, [lowest, highest]) {
  let [low, high] = [Infinity, -Infinity];
  for (let stored = lowest; stored <= highest; stored += 1) {
    low = Math.min(low, look(lut, stored));
    high = Math.max(high, look(lut, stored));
  }
  return [low, high];
}

/**
 * @param {Dataset} dataset
 * @param {number} frame
 * @param {ReadBytes} readBytes
 * @param {boolean} signed
 * @returns {Promise<Shading["modality"]>}
 */
async function readModality(dataset, frame, readBytes, signed) {
  const [item] = items(dataset, "ModalityLUTSequence");
  const lut = item ? await readLut(item, readBytes, signed) : null;
  const place = ofFrame(dataset, frame, "PixelValueTransformationSequence") ?? dataset;
  // A slope of 0 is none: the service leaves it out as well.
  return { slope: number(place, "RescaleSlope") || 1, intercept: number(place, "RescaleIntercept") ?? 0, lut };
}

/**
 * @param {Dataset} dataset
 * @param {number} frame
 * @param {ReadBytes} readBytes
 * @param {boolean} signed  whether what a VOI LUT maps may be negative
 */
async function readVois(dataset, frame, readBytes, signed) {
  /** @type {Voi[]} */
  const found = [];
  for (const place of [ofFrame(dataset, frame, "FrameVOILUTSequence"), dataset]) {
    if (!place) continue;
    const named = FUNCTIONS.find((name) => name === code(place, "VOILUTFunction")) ?? "LINEAR";
    const explained = values(place, "WindowCenterWidthExplanation");
    const widths = numbers(place, "WindowWidth");
    for (const [at, center] of numbers(place, "WindowCenter").slice(0, widths.length).entries()) {
      if (widths[at] > 0) found.push(makeWindow(String(explained[at] ?? "").trim(), center, widths[at], named));
    }
    for (const item of items(place, "VOILUTSequence")) {
      const lut = await readLut(item, readBytes, signed);
      if (lut) found.push({ label: textOf(item, "LUTExplanation"), center: 0, width: 1, function: "", lut });
    }
    if (found.length) break;
  }
  return found;
}

/**
 * @param {Dataset} dataset
 * @param {ReadBytes} readBytes
 * @returns {Promise<Shading["presentation"]>}
 */
async function readPresentation(dataset, readBytes) {
  const first = code(dataset, "PhotometricInterpretation") === "MONOCHROME1";
  const [item] = items(dataset, "PresentationLUTSequence");
  const lut = item ? await readLut(item, readBytes, false) : null;
  if (lut) return { inverted: first, lut };
  const shape = code(dataset, "PresentationLUTShape");
  return { inverted: ["IDENTITY", "INVERSE"].includes(shape) ? shape === "INVERSE" : first, lut: null };
}

/**
 * Reads a lookup table by its descriptor (PS3.3 C.11.1.1.1).
 * @param {Dataset} item
 * @param {ReadBytes} readBytes
 * @param {boolean} signed  whether its input may be negative
 * @returns {Promise<Lut | null>}
 */
async function readLut(item, readBytes, signed) {
  const shape = numbers(item, "LUTDescriptor");
  if (shape.length < 3) return null;
  const count = modulo(shape[0], TABLE_SPAN) || TABLE_SPAN;
  let first = modulo(shape[1], TABLE_SPAN);
  if (signed && first >= TABLE_SPAN / 2) first -= TABLE_SPAN;
  const entries = await readEntries(item, readBytes, count, shape[2]);
  if (!entries.length) return null;
  const needed = Math.max(1, Math.floor(Math.log2(Math.max(1, entries.reduce((a, b) => Math.max(a, b), 0)))) + 1);
  return { first, entries, bits: shape[2] > 0 && shape[2] <= 16 ? Math.max(shape[2], needed) : needed };
}

/**
 * @param {Dataset} item
 * @param {ReadBytes} readBytes
 * @param {number} count
 * @param {number} bits
 */
async function readEntries(item, readBytes, count, bits) {
  const stored = values(item, "LUTData");
  if (stored.length) return Uint16Array.from(stored.slice(0, count), Number);
  const element = item["00283006"];
  if (!element) return new Uint16Array();
  const bytes = element.InlineBinary ? fromBase64(element.InlineBinary)
    : element.BulkDataURI ? await readBytes(element) : new ArrayBuffer(0);
  // Entries of 8 bits stand two in a word, or in a word each: the length tells.
  if (bits <= 8 && bytes.byteLength <= count + 1) return Uint16Array.from(new Uint8Array(bytes).subarray(0, count));
  return new Uint16Array(bytes.slice(0, Math.min(count, bytes.byteLength >> 1) * 2));
}

/**
 * @param {Dataset} dataset
 * @param {number} frame
 */
function unitOf(dataset, frame) {
  const place = ofFrame(dataset, frame, "PixelValueTransformationSequence") ?? dataset;
  const named = code(place, "RescaleType") || code(items(dataset, "ModalityLUTSequence")[0], "ModalityLUTType");
  const ct = code(dataset, "Modality") === "CT" && number(place, "RescaleSlope") !== null ? "HU" : "";
  return UNITS.get(code(dataset, "Units") || named || ct) ?? "";
}

/**
 * @param {ArrayBuffer} bytes
 * @param {number} width
 * @param {boolean} signed
 */
function typed(bytes, width, signed) {
  if (width === 1) return signed ? new Int8Array(bytes) : new Uint8Array(bytes);
  if (width === 2) return signed ? new Int16Array(bytes) : new Uint16Array(bytes);
  return signed ? new Int32Array(bytes) : new Uint32Array(bytes);
}

/**
 * @param {Uint8Array} packed
 * @param {number} count
 */
function unpackBits(packed, count) {
  const bits = new Uint8Array(count);
  for (let at = 0; at < count; at += 1) bits[at] = (packed[at >> 3] >> (at & 7)) & 1;
  return bits;
}

/**
 * @param {ArrayBuffer} bytes
 * @param {number} size
 */
function padded(bytes, size) {
  const longer = new Uint8Array(size);
  longer.set(new Uint8Array(bytes));
  return longer.buffer;
}

/** @param {string} encoded */
function fromBase64(encoded) {
  return Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0)).buffer;
}

/**
 * @param {number} value
 * @param {number} divisor
 */
const modulo = (value, divisor) => ((value % divisor) + divisor) % divisor;
