// The keys: what each does, and the help that lists them.

import { find, make } from "./dom.js";
import { text } from "./text.js";
import { ZOOM_STEP } from "./viewer.js";

/**
 * @typedef {object} Targets
 * @property {import("./viewer.js").Viewer} viewer
 * @property {() => void} search
 * @property {() => void} tags
 * @property {(() => void) | null} upload  null where nothing can be uploaded
 * @property {() => void} pin
 */

/** @typedef {{keys: string[], name: keyof typeof text.keys, work: (to: Targets, key: string) => unknown}} Key */

/** @type {{group: keyof typeof text.keyGroups, keys: Key[]}[]} */
const GROUPS = [
  {
    group: "through",
    keys: [
      { keys: ["ArrowDown", "ArrowRight"], name: "next", work: ({ viewer }) => viewer.step(1) },
      { keys: ["ArrowUp", "ArrowLeft"], name: "previous", work: ({ viewer }) => viewer.step(-1) },
      { keys: ["PageDown"], name: "tenOn", work: ({ viewer }) => viewer.step(10) },
      { keys: ["PageUp"], name: "tenBack", work: ({ viewer }) => viewer.step(-10) },
      { keys: ["Home"], name: "first", work: ({ viewer }) => viewer.step(-Infinity) },
      { keys: ["End"], name: "last", work: ({ viewer }) => viewer.step(viewer.slices.length) },
      { keys: [" "], name: "play", work: ({ viewer }) => viewer.play(!viewer.isPlaying) },
    ],
  },
  {
    group: "grey",
    keys: [
      { keys: ["Shift+ArrowUp"], name: "brighter", work: ({ viewer }) => viewer.shiftWindow(-0.05, 1) },
      { keys: ["Shift+ArrowDown"], name: "darker", work: ({ viewer }) => viewer.shiftWindow(0.05, 1) },
      { keys: ["Shift+ArrowRight"], name: "wider", work: ({ viewer }) => viewer.shiftWindow(0, 1.1) },
      { keys: ["Shift+ArrowLeft"], name: "narrower", work: ({ viewer }) => viewer.shiftWindow(0, 1 / 1.1) },
      {
        keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"], name: "offered",
        work: ({ viewer }, key) => viewer.useOffered(Number(key)),
      },
      { keys: ["i"], name: "invert", work: ({ viewer }) => viewer.invert() },
    ],
  },
  {
    group: "size",
    keys: [
      { keys: ["+", "="], name: "larger", work: ({ viewer }) => viewer.zoom(ZOOM_STEP) },
      { keys: ["-"], name: "smaller", work: ({ viewer }) => viewer.zoom(1 / ZOOM_STEP) },
      { keys: ["0"], name: "fit", work: ({ viewer }) => viewer.fit() },
      { keys: ["a"], name: "actual", work: ({ viewer }) => viewer.actualSize() },
      {
        keys: ["Control+ArrowUp", "Control+ArrowDown", "Control+ArrowLeft", "Control+ArrowRight"], name: "move",
        work: ({ viewer }, key) => viewer.pan(...steps(key)),
      },
      { keys: ["r"], name: "reset", work: ({ viewer }) => viewer.reset() },
      { keys: ["f"], name: "full", work: ({ viewer }) => viewer.fullScreen() },
      { keys: ["o"], name: "texts", work: ({ viewer }) => viewer.toggleTexts() },
    ],
  },
  {
    group: "elsewhere",
    keys: [
      { keys: ["/"], name: "search", work: ({ search }) => search() },
      { keys: ["t"], name: "tags", work: ({ tags }) => tags() },
      { keys: ["c"], name: "compare", work: ({ pin }) => pin() },
      { keys: ["u"], name: "upload", work: ({ upload }) => upload?.() },
      { keys: ["?"], name: "help", work: (to) => showHelp(to) },
    ],
  },
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
  find("help-button", HTMLButtonElement).addEventListener("click", () => showHelp(targets));
}

/**
 * Shows what the keys do.
 * @param {Targets} targets
 */
function showHelp({ upload }) {
  const body = find("help-body", HTMLElement);
  if (!body.childElementCount) {
    const does = (/** @type {Key} */ { name }) => name !== "upload" || upload;
    const groups = GROUPS.map(({ group, keys }) => makeGroup(text.keyGroups[group], keys.filter(does).map(({ name }) => text.keys[name])));
    body.append(...groups, makeGroup(text.keyGroups.mouse, text.mouse));
  }
  find("help", HTMLDialogElement).showModal();
}

/**
 * @param {string} title
 * @param {readonly (readonly string[])[]} lines  what is pressed, one or more ways of it, and what it does
 */
function makeGroup(title, lines) {
  const list = make("dl");
  for (const line of lines) {
    const keys = line.slice(0, -1).map((key) => make("kbd", "", key));
    list.append(make("div", "", make("dt", "", ...keys), make("dd", "", line[line.length - 1])));
  }
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
