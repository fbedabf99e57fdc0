// The keys: what each does, and the help that lists them.

import { find, make } from "./dom.js";
import { ZOOM_STEP } from "./viewer.js";

/**
 * @typedef {object} Targets
 * @property {import("./viewer.js").Viewer} viewer
 * @property {() => void} search
 * @property {() => void} tags
 * @property {() => void} upload
 * @property {() => void} pin
 */

/** @typedef {{keys: string[], shown: string, does: string, work: (to: Targets, key: string) => unknown}} Key */

/** @type {{title: string, keys: Key[]}[]} */
const GROUPS = [
  {
    title: "Through the images",
    keys: [
      { keys: ["ArrowDown", "ArrowRight"], shown: "↓ →", does: "Next image", work: ({ viewer }) => viewer.step(1) },
      { keys: ["ArrowUp", "ArrowLeft"], shown: "↑ ←", does: "Image before", work: ({ viewer }) => viewer.step(-1) },
      { keys: ["PageDown"], shown: "Page ↓", does: "Ten images on", work: ({ viewer }) => viewer.step(10) },
      { keys: ["PageUp"], shown: "Page ↑", does: "Ten images back", work: ({ viewer }) => viewer.step(-10) },
      { keys: ["Home"], shown: "Home", does: "First image", work: ({ viewer }) => viewer.step(-Infinity) },
      { keys: ["End"], shown: "End", does: "Last image", work: ({ viewer }) => viewer.step(viewer.slices.length) },
      { keys: [" "], shown: "Space", does: "Play, or stop", work: ({ viewer }) => viewer.play(!viewer.isPlaying) },
    ],
  },
  {
    title: "Grey values",
    keys: [
      { keys: ["Shift+ArrowUp"], shown: "Shift ↑", does: "Brighter", work: ({ viewer }) => viewer.shiftWindow(-0.05, 1) },
      { keys: ["Shift+ArrowDown"], shown: "Shift ↓", does: "Darker", work: ({ viewer }) => viewer.shiftWindow(0.05, 1) },
      { keys: ["Shift+ArrowRight"], shown: "Shift →", does: "Wider window", work: ({ viewer }) => viewer.shiftWindow(0, 1.1) },
      { keys: ["Shift+ArrowLeft"], shown: "Shift ←", does: "Narrower window", work: ({ viewer }) => viewer.shiftWindow(0, 1 / 1.1) },
      {
        keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"], shown: "1 … 9", does: "A window of the list",
        work: ({ viewer }, key) => viewer.useOffered(Number(key)),
      },
      { keys: ["i"], shown: "I", does: "Invert", work: ({ viewer }) => viewer.invert() },
    ],
  },
  {
    title: "Size and place",
    keys: [
      { keys: ["+", "="], shown: "+", does: "Larger", work: ({ viewer }) => viewer.zoom(ZOOM_STEP) },
      { keys: ["-"], shown: "−", does: "Smaller", work: ({ viewer }) => viewer.zoom(1 / ZOOM_STEP) },
      { keys: ["0"], shown: "0", does: "As large as fits", work: ({ viewer }) => viewer.fit() },
      { keys: ["a"], shown: "A", does: "Actual size: a pixel is a pixel", work: ({ viewer }) => viewer.actualSize() },
      {
        keys: ["Control+ArrowUp", "Control+ArrowDown", "Control+ArrowLeft", "Control+ArrowRight"], shown: "Ctrl + arrows",
        does: "Move the picture", work: ({ viewer }, key) => viewer.pan(...steps(key)),
      },
      { keys: ["r"], shown: "R", does: "As at first", work: ({ viewer }) => viewer.reset() },
      { keys: ["f"], shown: "F", does: "Full screen", work: ({ viewer }) => viewer.fullScreen() },
      { keys: ["o"], shown: "O", does: "Texts over the picture on or off", work: ({ viewer }) => viewer.toggleTexts() },
    ],
  },
  {
    title: "Elsewhere",
    keys: [
      { keys: ["/"], shown: "/", does: "Search over files", work: ({ search }) => search() },
      { keys: ["t"], shown: "T", does: "Search in the tags", work: ({ tags }) => tags() },
      { keys: ["c"], shown: "C", does: "Compare the tags with another image's", work: ({ pin }) => pin() },
      { keys: ["u"], shown: "U", does: "Upload", work: ({ upload }) => upload() },
      { keys: ["?"], shown: "?", does: "This help", work: showHelp },
    ],
  },
];

const MOUSE = [
  ["Wheel", "Through the images"],
  ["Drag", "Window: across for its width, up and down for its center"],
  ["Shift drag, middle button", "Move"],
  ["Ctrl wheel, right button", "Zoom"],
  ["One finger", "Through the images"],
  ["Two fingers", "Zoom and move"],
];

/**
 * Listens for keys, wherever nothing is typed.
 * @param {Targets} targets
 */
export function listenForKeys(targets) {
  const works = new Map(GROUPS.flatMap(({ keys }) => keys.flatMap((each) => each.keys.map((key) => [key, each.work]))));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest("input, textarea, select, [contenteditable]")) return;
    const isArrow = event.key.startsWith("Arrow");
    // Space presses the button that has the focus; arrows scroll tables.
    if (event.key === " " && target.closest("button, summary, a")) return;
    if (isArrow && target.closest("#tags, #hits, #uploads")) return;
    const prefix = isArrow ? (event.ctrlKey ? "Control+" : event.shiftKey ? "Shift+" : "") : "";
    if (event.ctrlKey && !isArrow) return;
    const key = prefix + (event.key.length === 1 ? event.key.toLowerCase() : event.key);
    const work = works.get(key);
    if (!work) return;
    event.preventDefault();
    work(targets, key);
  });
  find("help-button", HTMLButtonElement).addEventListener("click", showHelp);
}

/** Shows what the keys do. */
export function showHelp() {
  const body = find("help-body", HTMLElement);
  if (!body.childElementCount) {
    const groups = GROUPS.map(({ title, keys }) => makeGroup(title, keys.map(({ shown, does }) => [shown, does])));
    body.append(...groups, makeGroup("With mouse and fingers", MOUSE));
  }
  find("help", HTMLDialogElement).showModal();
}

/**
 * @param {string} title
 * @param {string[][]} lines
 */
function makeGroup(title, lines) {
  const list = make("dl");
  for (const [keys, does] of lines) list.append(make("div", "", make("dt", "", make("kbd", "", keys)), make("dd", "", does)));
  return make("section", "", make("h3", "", title), list);
}

/**
 * @param {string} key
 * @returns {[number, number]}
 */
function steps(key) {
  if (key.endsWith("Up")) return [0, -40];
  if (key.endsWith("Down")) return [0, 40];
  return [key.endsWith("Left") ? -40 : 40, 0];
}
