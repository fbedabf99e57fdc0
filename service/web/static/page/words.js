// The words of the page's own markup, which has none: it names them, and they are put in from text.js.

import { words } from "./text.js";

/**
 * Where a word goes, by the end of the attribute's name.
 * @type {[string, (element: Element, word: string) => void][]}
 */
const PLACES = [
  ["text", (element, word) => element.append(word)],
  ["label", (element, word) => element.setAttribute("aria-label", word)],
  ["title", (element, word) => element.setAttribute("title", word)],
  ["picture", (element, word) => element.setAttribute("alt", word)],
  ["hint", (element, word) => element.setAttribute("placeholder", word)],
];

/** Puts all words in their places. */
export function putWords() {
  for (const [place, put] of PLACES) {
    for (const element of document.querySelectorAll(`[data-${place}]`)) {
      const name = /** @type {keyof typeof words} */ (element.getAttribute(`data-${place}`));
      put(element, words[name]);
    }
  }
}
