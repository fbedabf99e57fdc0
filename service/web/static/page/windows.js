// The windows to choose from: the file's own, those of the modality, and those made of the picture itself.

import { makeWindow, toModality, wholeRange } from "./pixels.js";
import { text } from "./text.js";

/**
 * @typedef {import("./pixels.js").Voi} Voi
 * @typedef {import("./pixels.js").Shading} Shading
 * @typedef {import("./frames.js").Frame} Frame
 */

/**
 * @typedef {{kind: "file", at: number} | {kind: "window", center: number, width: number, name?: string}
 *   | {kind: "range"} | {kind: "middle"}} Choice
 */

/** @type {Record<string, [string, number, number][]>} */
const PRESETS = {
  CT: [
    [text.presets.softTissue, 50, 350], [text.presets.lung, -600, 1500], [text.presets.bone, 400, 1800],
    [text.presets.brain, 40, 80], [text.presets.liver, 60, 160], [text.presets.vessels, 300, 600],
  ],
};
const SAMPLED = 20_000;

/**
 * Returns what may be chosen, in groups.
 * @param {Shading | null} shading
 * @param {string} modality
 * @returns {{label: string, choices: {label: string, choice: Choice}[]}[]}
 */
export function offeredWindows(shading, modality) {
  const own = (shading?.vois ?? []).map((voi, at) => ({
    label: voi.label || (voi.lut ? text.table(at + 1) : text.numbered(at + 1)),
    choice: /** @type {Choice} */ ({ kind: "file", at }),
  }));
  const presets = (PRESETS[modality] ?? []).map(([name, center, width]) => ({
    label: name,
    choice: /** @type {Choice} */ ({ kind: "window", center, width, name }),
  }));
  const made = [
    { label: text.wholeRange, choice: /** @type {Choice} */ ({ kind: "range" }) },
    { label: text.middle, choice: /** @type {Choice} */ ({ kind: "middle" }) },
  ];
  return [
    { label: text.ofFile, choices: own },
    { label: text.ofModality(modality), choices: presets },
    { label: text.ofPicture, choices: made },
  ].filter(({ choices }) => choices.length);
}

/**
 * Returns the window that a choice means for one frame.
 * @param {Choice} choice
 * @param {Frame} frame
 * @param {Shading} shading
 * @returns {Voi}
 */
export function chosenWindow(choice, frame, shading) {
  const named = shading.vois.find((voi) => !voi.lut)?.function ?? "LINEAR";
  switch (choice.kind) {
    case "window":
      return makeWindow("", choice.center, choice.width, named);
    case "file":
      return shading.vois[choice.at] ?? shading.vois[0] ?? wholeRange(frame.ends, shading);
    case "middle":
      return middle(frame, shading);
    default:
      return wholeRange(frame.ends, shading);
  }
}

/**
 * Returns a window without the darkest and the brightest 2 % of the pixels.
 * @param {Frame} frame
 * @param {Shading} shading
 */
function middle(frame, shading) {
  const samples = frame.samples ?? new Uint8Array(1);
  const step = Math.max(1, Math.floor(samples.length / SAMPLED));
  const some = [];
  for (let at = 0; at < samples.length; at += step) some.push(samples[at]);
  some.sort((one, other) => one - other);
  const ends = [some[Math.floor(some.length * 0.02)], some[Math.floor(some.length * 0.98)]];
  const [low, high] = ends.map((each) => toModality(each, shading)).sort((one, other) => one - other);
  return makeWindow("", (low + high) / 2, Math.max(high - low, 1));
}
