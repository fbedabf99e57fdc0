// Where a picture is in the body: the order of slices, the letters at its edges, and how large a pixel is.

import { items, number, numbers, ofFrame, values, whole } from "./dicomjson.js";

/**
 * @typedef {import("./dicomjson.js").Dataset} Dataset
 * @typedef {[number, number, number]} Vector
 */

/**
 * @typedef {object} Spacing
 * @property {number} down  from row to row, in mm
 * @property {number} across
 * @property {boolean} atDetector  in the plane of the detector, where the body looks larger
 */

const DIRECTIONS = [["L", "R"], ["P", "A"], ["H", "F"]];
const OPPOSITE = new Map([["L", "R"], ["R", "L"], ["P", "A"], ["A", "P"], ["H", "F"], ["F", "H"]]);
const CENTIMETRES = 3; // of Physical Units X Direction (PS3.3 C.8.5.5.1.15)

/**
 * Returns the position along the normal of the slices, of each; null where they are no stack of parallel slices.
 * @param {Dataset[]} datasets
 * @returns {number[] | null}
 */
export function positionsOf(datasets) {
  const normal = normalOf(datasets[0], 1);
  if (!normal) return null;
  /** @type {number[]} */
  const found = [];
  for (const dataset of datasets) {
    const own = normalOf(dataset, 1);
    const position = positionOf(dataset, 1);
    if (!own || !position || Math.abs(dot(own, normal)) < 0.99) return null;
    found.push(dot(position, normal));
  }
  return Math.max(...found) - Math.min(...found) > 1e-3 ? found : null;
}

/**
 * Returns the position of a frame along its normal, in mm.
 * @param {Dataset} dataset
 * @param {number} frame
 */
export function locationOf(dataset, frame) {
  const normal = normalOf(dataset, frame);
  const position = positionOf(dataset, frame);
  return normal && position ? dot(position, normal) : null;
}

/**
 * Returns the letters at the four edges of a picture: where the body goes on (PS3.3 C.7.6.1.1.1).
 * @param {Dataset} dataset
 * @param {number} frame
 * @returns {{left: string, right: string, top: string, bottom: string} | null}
 */
export function edgeLetters(dataset, frame) {
  const orientation = orientationOf(dataset, frame);
  const named = values(dataset, "PatientOrientation").map((value) => String(value ?? "").trim().toUpperCase());
  const right = orientation ? lettersOf(orientation.row) : (named[0] ?? "");
  const bottom = orientation ? lettersOf(orientation.column) : (named[1] ?? "");
  if (!right && !bottom) return null;
  return { right, bottom, left: opposite(right), top: opposite(bottom) };
}

/**
 * Returns how large a pixel is.
 * @param {Dataset} dataset
 * @param {number} frame
 * @returns {Spacing | null}
 */
export function spacingOf(dataset, frame) {
  const measures = ofFrame(dataset, frame, "PixelMeasuresSequence");
  for (const [place, keyword, atDetector] of /** @type {const} */ ([
    [measures, "PixelSpacing", false],
    [dataset, "PixelSpacing", false],
    [dataset, "ImagerPixelSpacing", true],
    [dataset, "NominalScannedPixelSpacing", true],
  ])) {
    const [down, across] = numbers(place, keyword);
    if (down > 0 && across > 0) return { down, across, atDetector };
  }
  const [region] = items(dataset, "SequenceOfUltrasoundRegions");
  const across = Math.abs(number(region, "PhysicalDeltaX") ?? 0) * 10;
  const down = Math.abs(number(region, "PhysicalDeltaY") ?? 0) * 10;
  const metric = whole(region, "PhysicalUnitsXDirection") === CENTIMETRES;
  return metric && across > 0 && down > 0 ? { down, across, atDetector: false } : null;
}

/**
 * Returns how much taller than wide a pixel is.
 * @param {Dataset} dataset
 * @param {number} frame
 */
export function aspectOf(dataset, frame) {
  const spacing = spacingOf(dataset, frame);
  const [vertical, horizontal] = numbers(dataset, "PixelAspectRatio");
  const aspect = spacing ? spacing.down / spacing.across : vertical > 0 && horizontal > 0 ? vertical / horizontal : 1;
  return aspect > 0.1 && aspect < 10 ? aspect : 1;
}

/**
 * Returns how many frames a second are meant to be shown.
 * @param {Dataset} dataset
 */
export function rateOf(dataset) {
  const time = number(dataset, "FrameTime");
  const rate = number(dataset, "RecommendedDisplayFrameRate") ?? number(dataset, "CineRate") ?? (time ? 1000 / time : 10);
  return Math.min(60, Math.max(1, Math.round(rate)));
}

/**
 * @param {Dataset} dataset
 * @param {number} frame
 */
function orientationOf(dataset, frame) {
  const place = ofFrame(dataset, frame, "PlaneOrientationSequence") ?? dataset;
  const cosines = numbers(place, "ImageOrientationPatient");
  if (cosines.length !== 6) return null;
  return { row: /** @type {Vector} */ (cosines.slice(0, 3)), column: /** @type {Vector} */ (cosines.slice(3)) };
}

/**
 * @param {Dataset} dataset
 * @param {number} frame
 * @returns {Vector | null}
 */
function normalOf(dataset, frame) {
  const orientation = orientationOf(dataset, frame);
  if (!orientation) return null;
  const { row: a, column: b } = orientation;
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

/**
 * @param {Dataset} dataset
 * @param {number} frame
 * @returns {Vector | null}
 */
function positionOf(dataset, frame) {
  const place = ofFrame(dataset, frame, "PlanePositionSequence") ?? dataset;
  const position = numbers(place, "ImagePositionPatient");
  return position.length === 3 ? /** @type {Vector} */ (position) : null;
}

/**
 * Returns the letters of a direction, the largest part of it first: `L`, `LP`.
 * @param {Vector} direction
 */
function lettersOf(direction) {
  return direction
    .map((part, axis) => ({ size: Math.abs(part), letter: DIRECTIONS[axis][part > 0 ? 0 : 1] }))
    .filter(({ size }) => size > 0.3)
    .sort((one, other) => other.size - one.size)
    .map(({ letter }) => letter)
    .join("");
}

/** @param {string} letters */
const opposite = (letters) => [...letters].map((letter) => OPPOSITE.get(letter) ?? "").join("");

/**
 * @param {Vector} one
 * @param {Vector} other
 */
const dot = (one, other) => one[0] * other[0] + one[1] * other[1] + one[2] * other[2];

/**
 * Returns a length in mm as a scale bar shows it: the longest of 1, 2 and 5 times a power of ten that fits.
 * @param {number} longest  in mm
 */
export function barLength(longest) {
  const power = 10 ** Math.floor(Math.log10(longest));
  return [5, 2, 1].map((each) => each * power).find((each) => each <= longest) ?? power;
}

